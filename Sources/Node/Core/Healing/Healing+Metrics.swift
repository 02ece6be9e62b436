/// What partitions left behind.
extension Healing {
    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("rifts", "Members that were found dead and have not come back, or not been read.", rifts.count)
        out.counter("heals_total", "Members that were found dead and came back.", counters.heals)
        out.counter("heal_reports_total", "Events cluster.healed written by this node.", counters.reports)
        out.family("conflicts_total", .counter, "What sides of partitions did that could not both stay.")
        for (kind, count) in zip(Conflict.Kind.allCases, counters.conflicts) {
            out.sample(["kind": kind.rawValue], count)
        }
    }
}
