import CRDT
import Gossip

/// How agents fare, as the tracker sees it from what they have published lately.
extension NodeCore {
    /// So many of the newest entries are looked at.
    static let trackedMetricsWindow = 16_384
    /// So many events with the same correlation id, to find the request that one of them answers.
    private static let maximumAnswered = 64

    mutating func metrics(
        of agent: String, period: String, _ tenancy: Tenancy, now: Instant
    ) throws(NodeError) -> JSONValue {
        let since = try Self.milliseconds(of: period)
        let nowMs = cluster.nowMs(now)
        // Events are published under the name, which an agent's id leads to.
        let name = AgentView(agent, documents).map { ServiceAgent.unversioned(ServiceAgent($0).name) }
        let (done, failed, open, tookMs) = fates(
            of: [agent, name ?? agent], since: nowMs - min(since, nowMs), tenancy)
        let ended = done + failed
        guard name != nil || ended + open > 0 else {
            throw .notFound(
                "nobody introduced an agent \(agent.prefix(64)), and no event of its is among those that are looked at")
        }
        return .object([
            ("agent_id", .string(agent)), ("period", .string(period)), ("total_tasks", .number(ended + open)),
            ("completed_tasks", .number(done)), ("failed_tasks", .number(failed)),
            ("avg_duration_seconds", tookMs.map { .seconds($0) } ?? .number("0.0")),
            ("success_rate", .number(ended == 0 ? "0.0" : "\(Double(done) / Double(ended))")),
        ])
    }

    /// A number and a unit: `90s`, `15m`, `1h`, `7d`, `2w`.
    private static func milliseconds(of period: String) throws(NodeError) -> UInt64 {
        let units: [UInt8: UInt64] = [
            UInt8(ascii: "s"): 1_000, UInt8(ascii: "m"): 60_000, UInt8(ascii: "h"): 3_600_000,
            UInt8(ascii: "d"): 86_400_000, UInt8(ascii: "w"): 604_800_000,
        ]
        let digits = period.utf8.dropLast()
        guard let unit = period.utf8.last.flatMap({ units[$0] }), (1...6).contains(digits.count),
            digits.allSatisfy({ $0 &- UInt8(ascii: "0") < 10 }),
            let number = UInt64(String(decoding: digits, as: UTF8.self))
        else {
            throw .badQuery("period", "expected a number and s, m, h, d or w, as in 7d, found \"\(period.prefix(64))\"")
        }
        return number * unit
    }

    /// What became of the tasks that somebody under one of these names has answered or reported of, and how long it took on
    /// average where the request is known.
    private func fates(
        of names: [String], since: UInt64, _ tenancy: Tenancy
    ) -> (done: Int, failed: Int, open: Int, tookMs: UInt64?) {
        // By task, the newest report of it or what was answered; answers that name no task are one each.
        var states: [[UInt8]: String] = [:]
        var (totalMs, timed) = (UInt64(0), UInt64(0))
        // Many answers may share one correlation id: what was asked under it is read once.
        var asked: [[UInt8]: [TrackedEvent]] = [:]
        for position in trackedPositions(within: Self.trackedMetricsWindow) {
            guard let event = trackedEvent(at: position), event.ms >= since,
                names.contains(where: { $0.isSame(as: event.source) }), event.isShown(to: tenancy)
            else { continue }
            let task = Array((event.taskID ?? event.id).utf8)
            if let state = event.reported {
                if states[task] == nil { states[task] = state }
            } else if event.isResult {
                states[task] = event.isFailure ? "failed" : "completed"
                if let start = requested(event, &asked) {
                    totalMs += event.ms - min(start, event.ms)
                    timed += 1
                }
            }
        }
        let done = states.values.count { $0 == "completed" }
        let failed = states.values.count { $0 == "failed" }
        return (done, failed, states.count - done - failed, timed == 0 ? nil : totalMs / timed)
    }

    /// When that was asked for which an event answers.
    private func requested(_ answer: TrackedEvent, _ asked: inout [[UInt8]: [TrackedEvent]]) -> UInt64? {
        guard !answer.correlation.isEmpty else { return nil }
        let text = JSONText.canonical(answer.correlation)
        let all =
            asked[text]
            ?? index.candidates(trace: text.span.bytes, most: Self.maximumAnswered).compactMap { position in
                trackedEvent(at: position)
            }.filter { $0.isRequest && $0.correlation.isSame(as: answer.correlation) }
        asked[text] = all
        let requests = all.filter { $0.stamp < answer.stamp }
        let named = requests.first { $0.responseEvent?.isSame(as: answer.type) ?? false }
        return (named ?? requests.first)?.ms
    }
}
