internal import NodeCore

/// What may not grow although peers come and go for ever: the most that any node ever held of it.
struct Bounded {
    /// What is watched, by its name in `/metrics`.
    enum Gauge: String, CaseIterable {
        case vectorEntries = "hypha_vector_entries"
        case collectedLogs = "hypha_collected_logs"
        case logs = "hypha_logs"
        case logSlots = "hypha_log_slots"
        case retiredLogs = "hypha_retired_logs"
        case members = "hypha_members"
        case membersGone = "hypha_members_gone"
        case events = "hypha_events"
        case remembered = "hypha_log_remembered"
        case logBytes = "hypha_log_bytes"
        case waitingBytes = "hypha_waiting_bytes"
        case operations = "hypha_operations"
        case tombstones = "hypha_tombstones"
        case documents = "hypha_documents"
        case signals = "hypha_signals"
    }

    private var most = [Int](repeating: 0, count: Gauge.allCases.count)
    /// Bytes of the table of members with what each has read, as `GET /api/cluster` shows it.
    private var mostTableBytes = 0
    private var samples = 0

    /// Looks at one node; broken when it holds more than `bounds` allow.
    mutating func look(at node: Node, of cluster: Cluster, _ bounds: [Gauge: Int]) throws(Violation) {
        let metrics = try cluster.metrics(of: node)
        samples += 1
        for (place, gauge) in Gauge.allCases.enumerated() {
            guard let value = metrics[gauge.rawValue] else {
                throw Violation("/metrics has \(gauge.rawValue)", "not at node \(node.index)")
            }
            most[place] = max(most[place], value)
            if let bound = bounds[gauge], value > bound {
                throw Violation(
                    "\(gauge.rawValue) does not grow with the number of lives",
                    "\(value) at node \(node.index), and should be \(bound) at the most, "
                        + "after \(cluster.tally[.restarts]) restarts")
            }
        }
        mostTableBytes = max(mostTableBytes, try cluster.ask(node, .cluster).body.count)
    }

    /// The most of everything, a line each.
    var figures: [String] {
        let lines = zip(Gauge.allCases, most).map { (name: $0.rawValue, value: $1) }
        return ["the most at any node, in \(samples) looks:"]
            + (lines + [(name: "bytes of GET /api/cluster", value: mostTableBytes)]).map { line in
                let count = String(line.value)
                return String(repeating: " ", count: max(1, 12 - count.utf8.count)) + count + "  " + line.name
            }
    }
}
