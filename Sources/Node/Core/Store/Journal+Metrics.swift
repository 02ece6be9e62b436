/// What a durable node says about what it writes down.
extension Journal {
    func writeMetrics(heldBy gate: Gate, into out: inout MetricsWriter) {
        out.histogram("commit_seconds", "From a commit given to the disk to its sync.", counters.commitTimes)
        out.histogram("commit_bytes", "How long commits are.", counters.commitSizes)
        out.counter("journal_entries_total", "Entries of all logs written down.", counters.entries)
        out.counter("journal_segments_total", "Segments begun.", counters.segments)
        out.counter("journal_full_total", "Times the disk ran out of room.", counters.timesFull)
        out.gauge(
            "journal_has_room", "Whether the disk has room for more; without it the node is read-only.", hasRoom ? 1 : 0
        )
        out.gauge("unsynced_bytes", "Bytes noted that are not on the disk.", unsyncedBytes)
        out.gauge(
            "gate_effects", "Answers, frames and messages held until the disk has what they follow from.", gate.count)
        out.gauge("gate_bytes", "Bytes of them.", gate.byteCount)
    }
}
