import CRDT
import Gossip

/// Who may speak in which chat, as far as this node decides or has to know. Names are bytes.
struct Turns: Sendable {
    /// Documents that have changed since they were last read.
    var stale = StaleDocuments()
    /// When turns end about which this node decides.
    var timers = LeaseTimers()
    /// The change of members that was last followed.
    var seenMembers = -1
    /// When to try again, as this node could not decide anything.
    var retryAt: Instant?
    var counters = Counters()

    /// What was done since the start, for the metrics.
    struct Counters: Sendable {
        var granted = 0
        var expired = 0
        var revoked = 0
    }

    /// Chats in which somebody has the turn or waits for it, with those agents.
    private(set) var active: [[UInt8]: Set<[UInt8]>] = [:]
    private var chatsByAgent: [[UInt8]: Set<[UInt8]>] = [:]

    /// While nothing can be decided, what is due waits.
    var wake: Instant? { retryAt ?? timers.wake }

    /// Notes who has the turn in a chat or waits for it.
    mutating func note(_ chat: [UInt8], _ agents: [String]) {
        let agents = Set(agents.map { Array($0.utf8) })
        let before = active[chat] ?? []
        guard agents != before else { return }
        for agent in before.subtracting(agents) {
            chatsByAgent[agent]?.remove(chat)
            if chatsByAgent[agent]?.isEmpty ?? false { chatsByAgent[agent] = nil }
        }
        for agent in agents.subtracting(before) { chatsByAgent[agent, default: []].insert(chat) }
        active[chat] = agents.isEmpty ? nil : agents
    }

    /// A chat's document has changed: its members may have.
    mutating func noteChat(_ chat: [UInt8]) { if active[chat] != nil { stale.note(chat) } }

    /// An agent's document has changed: it may have retired.
    mutating func noteAgent(_ agent: [UInt8]) { for chat in chatsByAgent[agent] ?? [] { stale.note(chat) } }

    /// The chats that changed, or may have, in order; `known` are all there are if any may have changed.
    mutating func takeStale(hasNewMembers: Bool, _ known: [[UInt8]]) -> [[UInt8]] {
        let (keys, isEverything) = stale.take()
        guard isEverything || hasNewMembers else { return keys }
        return Set(keys).union(active.keys).union(known).sorted { $0.lexicographicallyPrecedes($1) }
    }

    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("turns_active", "Chats in which somebody has or wants the turn.", active.count)
        out.gauge("turns_timed", "Turns whose end this node decides.", timers.count)
        out.counter("turns_granted_total", "Turns granted by this node.", counters.granted)
        out.counter("turns_expired_total", "Turns that ended here with their time.", counters.expired)
        out.counter("turns_revoked_total", "Turns revoked by this node.", counters.revoked)
    }
}
