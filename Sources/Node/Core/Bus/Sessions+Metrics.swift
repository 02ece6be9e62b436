/// Who listens, and what is given to them.
extension Sessions {
    func writeMetrics(_ counters: NodeCore.Counters, into out: inout MetricsWriter) {
        out.gauge("sessions", "Clients that listen.", count)
        out.family("sessions_by_form", .gauge, "Clients that listen, by how events reach them.")
        out.sample(["form": "websocket"], count(of: .webSocket))
        out.sample(["form": "stream"], count(of: .eventStream))
        out.sample(["form": "soorma"], count(of: .envelopes))
        out.gauge("sessions_resuming", "Of them, those that are being given what they have missed.", resuming.count)
        out.gauge("channels", "Different subscriptions.", channelCount)
        out.gauge("filters", "Filters of all subscriptions.", filterCount)
        out.counter("broadcasts_total", "Events handed to channels of subscribers.", counters.delivered)
        out.counter("resumes_total", "Times a client resumed from a cursor.", counters.resumes)
        out.counter("resume_events_total", "Events given to those clients.", counters.replayed)
        out.counter("resume_gaps_total", "Resumes of which a part was no longer kept.", counters.gaps)
        out.counter(
            "subscriber_overruns_total", "Subscribers told from where to resume, having read too slowly.",
            counters.overrun)
    }
}
