internal import CRDT
internal import Gossip

// Who is here, and who has read what: each part of the cluster writes its own.

extension Membership {
    func writeMetrics(into out: inout MetricsWriter) {
        let members = self.members
        let others = members.count { $0.state == .alive && $0.replica != me.replica }
        out.gauge("members", "Members known, gone ones included.", members.count)
        out.gauge("members_gone", "Of them, those that are dead or left.", members.count { !$0.isPresent })
        out.family("members_by_state", .gauge, "Members known, this node included, by state.")
        for state in MemberState.allCases {
            out.sample(["state": "\(state)"], members.count { $0.state == state })
        }
        out.gauge("peers_alive", "Other members alive.", others)
        out.gauge(
            "local_health", "How much longer this node waits for others, being late itself.",
            Int(localHealth.multiplier))
        out.counter("probes_total", "Probes begun.", counters.probes)
        out.counter("probes_failed_total", "Probes that nobody answered.", counters.probesFailed)
        out.counter("suspicions_total", "Suspicions begun or joined.", counters.suspicions)
        out.counter("deaths_total", "Times a member was found dead.", counters.deaths)
        out.counter("refutations_total", "Accusations contradicted.", counters.refutations)
        out.counter("stalls_total", "Times this node was woken much later than it asked for.", counters.stalls)
        out.counter(
            "members_refused_total", "Members, relays and announcements for which there was no room.", counters.refused)
        writeDatagrams(into: &out)
    }

    private func writeDatagrams(into out: inout MetricsWriter) {
        out.counter("datagrams_sent_total", "Datagrams sent.", counters.datagramsSent)
        out.counter("datagrams_sent_bytes_total", "Bytes of datagrams sent.", counters.bytesSent)
        out.counter("datagrams_received_total", "Datagrams received.", counters.datagramsReceived)
        out.counter("datagrams_malformed_total", "Datagrams damaged or not ours.", counters.malformed)
        out.counter(
            "datagrams_incompatible_total", "Datagrams not exchanged for want of a common protocol.",
            counters.foreignVersion + counters.unspeakable)
        out.counter("datagrams_foreign_total", "Datagrams of another cluster.", counters.foreignCluster)
        out.counter("datagrams_sealed_total", "Datagrams sealed with a key that is not here.", counters.sealed)
        out.counter(
            "datagrams_unknown_total", "Datagrams of a type that this build does not know.", counters.unknownType)
        out.counter("datagrams_stale_total", "Datagrams of an earlier start, and answers too late.", counters.stale)
    }
}

extension Cluster {
    /// The links as the protocol sees them, and what came over them.
    func writeLinkMetrics(into out: inout MetricsWriter) {
        out.gauge("peers_linked", "Other members with a link.", mesh.linkedPeers.count)
        out.counter("bad_frames_total", "Frames refused.", replication.counters.badFrames + badFrames)
        out.counter("unknown_frames_total", "Frames of a newer protocol, ignored.", unknownFrames)
        out.counter("links_refused_total", "Handshakes refused.", mesh.refused)
        out.counter("links_incompatible_total", "Of them, for want of a common protocol.", mesh.incompatible)
    }

    /// The stamp clock.
    func writeClockMetrics(into out: inout MetricsWriter) {
        out.gauge(
            "clock_behind_peers_seconds", "How far the median of the peers' clocks is ahead.",
            microseconds: Int64(clock.medianAheadMs) * 1_000)
        out.counter("clock_corrections_total", "Times the clock was set to the peers'.", clock.corrections)
    }
}

extension Replication {
    func writeMetrics(into out: inout MetricsWriter) {
        out.counter("replicated_total", "Entries applied that came from peers.", counters.applied)
        out.counter("replicated_duplicates_total", "Entries that came again.", counters.duplicates)
        out.counter("replicated_waited_total", "Entries that came before their causes.", counters.waited)
        out.counter(
            "replicated_unread_total", "Frames of entries not read, for want of room for them.", counters.unread)
        out.gauge("waiting_bytes", "Bytes of entries that wait.", waitingBytes)
        out.counter("waiting_dropped_total", "Entries dropped while waiting.", waitingDropped)
        out.gauge("repairing", "Whether a repair is under way.", isRepairing ? 1 : 0)
        out.counter("repairs_total", "Repairs asked for.", counters.repairs)
        out.counter("held_back_total", "Times an entry was stamped too far ahead.", counters.heldBack)
        out.counter("snapshots_sent_total", "Snapshots begun for a peer.", counters.snapshots)
        out.counter("snapshots_read_total", "Snapshots of peers read to the end.", counters.adoptions)
        out.counter("log_forks_total", "Logs that a peer holds differently.", counters.forks)
        out.gauge("retired_logs", "Logs that ended and are not forgotten yet.", retiredCount)
        out.counter("retirements_total", "Logs found to have ended.", counters.retirements)
        out.counter("retirements_malformed_total", "Retirements that could not be read.", counters.malformed)
        out.gauge(
            "collected_logs", "Logs that a peer must have read not to start anew.", collected.entries.count)
    }
}

extension FactLog {
    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("log_bytes", "Bytes of entries in all logs.", heldBytes)
        out.gauge("log_entries", "Entries held of all logs.", heldEntries)
        out.counter("log_dropped_total", "Entries dropped by the retention.", dropped)
        out.gauge("logs", "Logs of which something is held.", logCount)
        out.gauge("log_slots", "Places for logs, free ones included.", slotCount)
        out.gauge("vector_entries", "Logs that vectors name.", vector.entries.count)
        out.gauge("log_remembered", "Dropped entries whose ids are known.", start - remembered)
        out.counter("log_forgotten_early_total", "Ids forgotten too soon.", forgottenEarly)
    }
}
