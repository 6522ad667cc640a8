"""A model, a benchmark, a metric and a tracker of somebody else's."""

from harness import Entry, hookimpl


@hookimpl
def register_models() -> list[Entry]:
    return [
        Entry("acme-parrot", "says a word of the question", "acme_vlm.model:Parrot"),
        Entry("acme-book", "looks its answers up in a checkpoint", "acme_vlm.book:Book"),
    ]


@hookimpl
def register_benchmarks() -> list[Entry]:
    return [Entry("acme-trivia", "questions in a JSON-lines file", "acme_vlm.benchmark:Trivia")]


@hookimpl
def register_metrics() -> list[Entry]:
    return [
        Entry("acme-exact", "equal answers", "acme_vlm.metric:Exact", provides=("exact", "exact_words")),
        Entry("acme-nothing", "nothing to measure", "acme_vlm.metric:Nothing"),
        Entry("acme-nan", "not a number", "acme_vlm.metric:NotANumber"),
        Entry("acme-raises", "raises", "acme_vlm.metric:Raises"),
        Entry("acme-needy", "needs what is not there", "acme_vlm.metric:Needy"),
    ]


@hookimpl
def register_trackers() -> list[Entry]:
    return [Entry("acme-diary", "writes down what it is told", "acme_vlm.diary:Diary")]


@hookimpl
def register_checks() -> list[Entry]:
    return [Entry("acme-absent", "never there", "acme_vlm.metric:Absent")]
