internal import CRDT
internal import Gossip

/// `GET /metrics`. Every noun writes its own; a new one is called here and gets its rows in `docs/metrics.md`.
extension NodeCore {
    func showMetrics(_ request: RequestID, _ shell: ShellMetrics, now: Instant, into effects: inout Effects) {
        var out = MetricsWriter()
        writeMetrics(shell, now: now, into: &out)
        let start = effects.bytes.count
        effects.bytes += out.bytes
        effects.list.append(.reply(request, Reply(status: 200, content: .metrics), body: start..<effects.bytes.count))
    }

    private func writeMetrics(_ shell: ShellMetrics, now: Instant, into out: inout MetricsWriter) {
        out.family("build_info", .gauge, "Always 1; the label says what runs.")
        out.sample(["version": Self.version], 1)
        out.gauge("uptime_seconds", "Since the node was started.", Int(now.milliseconds(since: startedAt) / 1_000))
        // Clients.
        shell.clients.writeMetrics(into: &out)
        writeRequests(into: &out)
        writeWaits(into: &out)
        sessions.writeMetrics(counters, into: &out)
        presence.writeMetrics(into: &out)
        groups.writeMetrics(into: &out)
        eventService.writeMetrics(into: &out)
        writeMessageMetrics(into: &out)
        contexts.writeMetrics(into: &out)
        memories.writeMetrics(into: &out)
        catalog.writeMetrics(into: &out)
        tracker.writeMetrics(into: &out)
        agents.writeMetrics(into: &out)
        writeChatMetrics(into: &out)
        forwards.writeMetrics(verdicts, into: &out)
        turns.writeMetrics(into: &out)
        tasks.writeMetrics(into: &out)
        recall.writeMetrics(into: &out)
        // What they see.
        writeEvents(into: &out)
        writeSignals(into: &out)
        writeDocuments(into: &out)
        writeState(into: &out)
        // What is behind it.
        cluster.log.writeMetrics(into: &out)
        cluster.replication.writeMetrics(into: &out)
        cluster.membership.writeMetrics(into: &out)
        healing.writeMetrics(into: &out)
        cluster.writeClockMetrics(into: &out)
        cluster.writeLinkMetrics(into: &out)
        shell.links.writeMetrics(cluster, into: &out)
        shell.datagrams.writeMetrics(into: &out)
        out.counter("network_errors_total", "Sends the system refused.", shell.networkErrors)
        shell.loop.writeMetrics(into: &out)
        // The disk of a durable node.
        journal?.writeMetrics(heldBy: gate, into: &out)
        shell.disk?.writeMetrics(into: &out)
    }

    private func writeRequests(into out: inout MetricsWriter) {
        out.counter("requests_refused_total", "Requests and messages answered with an error.", counters.refused)
    }

    private func writeWaits(into out: inout MetricsWriter) {
        out.gauge("clock_waiting", "Requests that wait for their Hypha-Clock.", waits.count)
        out.counter("clock_waits_total", "Requests that had to wait for their clock.", counters.clockWaits)
        out.counter("clock_timeouts_total", "Of them, those that waited in vain.", counters.clockTimeouts)
        out.counter("clock_refused_total", "Requests refused as too many waited.", counters.clockRefused)
        out.counter("clock_lost_total", "Requests whose clock named lost entries.", counters.clockLost)
        out.counter("clock_shortened_total", "Logs left out of clocks at 8 KiB.", counters.clockShortened)
        out.histogram("clock_wait_seconds", "How long requests waited for their clock.", counters.clockWait)
        out.gauge("ack_waiting", "Writes that wait for other nodes.", acks.count)
        out.gauge("ack_waiting_bytes", "Bytes of their answers.", acks.heldBytes)
        out.counter("ack_waits_total", "Writes whose answer waited for other nodes.", counters.ackWaits)
        out.counter("ack_timeouts_total", "Of them, those that waited in vain.", counters.ackTimeouts)
        out.counter("ack_refused_total", "Writes refused for the level they asked for.", counters.ackRefused)
        out.histogram("ack_wait_seconds", "How long writes waited for other nodes.", counters.ackWait)
    }

    private func writeEvents(into out: inout MetricsWriter) {
        out.gauge("events", "Events stored here.", index.eventCount)
        out.counter("events_accepted_total", "Events accepted from clients.", counters.accepted)
        out.counter("events_announced_total", "Events that this node told of its own accord.", counters.announced)
        out.counter("events_repeated_total", "Events posted again under a known id.", counters.repeated)
        out.counter("events_conflicts_total", "Ids accepted twice with different contents.", counters.conflicts)
        out.counter("events_malformed_total", "Entries of peers that are no events.", counters.malformedEvents)
        out.counter("copies_unresolved_total", "Copies of ids gone too soon.", counters.unresolvedCopies)
    }

    private func writeSignals(into out: inout MetricsWriter) {
        out.gauge("signals", "Signals known, faded ones included.", signals.count)
        out.gauge("operations", "Operations on signals held one by one.", signals.operationCount)
        out.counter("operations_folded_total", "Operations folded.", counters.foldedOperations)
        out.counter("signal_approximations_total", "Folds made approximate at the cap.", signals.approximations)
    }

    private func writeDocuments(into out: inout MetricsWriter) {
        out.gauge("documents", "Documents that exist.", documents.count)
        out.gauge("documents_bytes", "Memory that documents take.", documents.byteCount)
        out.counter("documents_malformed_total", "Puts of peers that could not be read.", counters.malformedPuts)
        out.gauge("tombstones", "Removed documents and fields remembered.", documents.tombstoneCount)
        out.counter("tombstones_collected_total", "Removals forgotten.", counters.collectedTombstones)
    }

    private func writeState(into out: inout MetricsWriter) {
        out.counter("state_comparisons_total", "States compared with a peer's.", counters.comparisons)
        out.counter("state_mismatches_total", "Equal logs, different states.", counters.mismatches)
        out.counter("state_malformed_total", "Parts of states refused.", counters.malformedStates)
        out.counter("resets_total", "Times this node started anew under a new id.", counters.resets)
        out.counter("resubmitted_total", "Own facts submitted again after that.", counters.resubmitted)
    }
}
