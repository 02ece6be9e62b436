/// What this node decides about, what its consumers have, and what it cost.
extension QueueGroups {
    func writeMetrics(into out: inout MetricsWriter) {
        var sum = counters.past
        var (held, inFlight, waiting, recent) = (0, 0, 0, 0)
        for group in all.values {
            sum.add(group.decider.counters)
            held += group.host.deliveries.count
            inFlight += group.decider.inFlight
            waiting += group.decider.items.count - group.decider.inFlight
            recent += group.host.recent.count
        }
        out.gauge("groups", "Queue groups.", all.count)
        out.counter("groups_ignored_total", "Times a group beyond the bound was left out.", counters.ignored)
        out.gauge("group_waiting", "Events found that wait for a consumer, decided about here.", waiting)
        out.gauge("group_in_flight", "Events handed out and not settled, decided about here.", inFlight)
        out.gauge("group_held", "Events that consumers connected here have.", held)
        out.gauge("group_recent_acks", "Acknowledgements remembered for new links and deciders.", recent)
        out.counter("group_delivered_total", "Events handed out.", sum.delivered)
        out.counter("group_redelivered_total", "Of them, those that were tried before.", sum.redelivered)
        out.counter("group_acked_total", "Events acknowledged.", sum.acked)
        out.counter("group_returned_total", "Events given back.", sum.returned)
        out.counter("group_missed_total", "Deadlines missed.", sum.missed)
        out.counter("group_bounced_total", "Events for which a consumer of a peer had no room.", sum.bounced)
        out.counter("group_takeovers_total", "Events taken over from a node that is gone.", sum.takenOver)
        out.counter("group_dead_letters_total", "Events tried in vain until the end.", sum.deadLettered)
        out.counter("group_frames_total", "Frames of peers about groups.", counters.frames)
        out.counter("group_frames_malformed_total", "Of them, those refused.", counters.malformed)
        out.counter("group_scanned_total", "Entries of the log looked at once more.", counters.scanned)
        out.counter("group_progress_writes_total", "Writes of progress.", counters.progressWrites)
        out.counter("group_progress_bytes_total", "Bytes of them.", counters.progressBytes)
    }
}
