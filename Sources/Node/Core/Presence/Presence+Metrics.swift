/// Whose sessions are known, and how it was heard.
extension Presence {
    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("presence_sessions", "Sessions here that peers are told of.", namedCount)
        out.gauge("presence_remote_sessions", "Sessions that peers have told of.", remoteCount)
        out.gauge(
            "presence_lingering_sessions", "Sessions shown although their node has started again.", lingeringCount)
        out.counter("presence_rosters_total", "Rosters of peers read.", counters.rosters)
        out.counter("presence_lingered_total", "Sessions whose node went or started again.", counters.lingered)
        out.counter("presence_refused_total", "Sessions of peers beyond the bound.", counters.refused)
    }
}
