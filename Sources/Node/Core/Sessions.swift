import CRDT

/// Who listens on `/ws`, and to what. Sessions that want the same share a channel, so that each event is tried once
/// per different wish and framed once for all who share it.
struct Sessions: Sendable {
    /// The most filters of one session.
    static let maximumFilters = 64

    private struct Session: Sendable {
        /// What it subscribed to; nil until it first does, which means everything.
        var filters: Set<Filter>?
        var channel: ChannelID?
    }

    private struct Channel: Sendable {
        let id: ChannelID
        let filters: Set<Filter>
        var listeners: Int
    }

    private var sessions: [SessionID: Session] = [:]
    /// The default channel first; the others in the order in which they were opened.
    private var channels = [Channel(id: ChannelID(0), filters: [.all], listeners: 0)]
    private var nextChannel: UInt32 = 1

    /// How many clients are connected.
    var count: Int { sessions.count }
    /// Every connected client, in order.
    var ids: [SessionID] { sessions.keys.sorted() }
    /// How many different wishes there are.
    var channelCount: Int { channels.count }
    /// Whether nobody listens to anything.
    var isSilent: Bool { channels.count == 1 && channels[0].listeners == 0 }

    /// The channels that get an event.
    func eachChannel(for event: EventView, _ json: RawSpan, _ body: (ChannelID) -> Void) {
        for channel in channels where channel.listeners > 0 {
            if channel.id == ChannelID(0) || channel.filters.contains(where: { $0.matches(event, json) }) {
                body(channel.id)
            }
        }
    }

    /// A client connected; it hears everything until it subscribes.
    mutating func open(_ id: SessionID, into effects: inout [NodeCore.Effect]) {
        sessions[id] = Session()
        tune(id, into: &effects)
    }

    /// Ends every session: what its client was shown no longer stands.
    mutating func closeAll(code: UInt16, reason: String, into effects: inout [NodeCore.Effect]) {
        for id in sessions.keys.sorted() {
            effects.append(.close(id, code: code, reason: reason))
            close(id, into: &effects)
        }
    }

    /// A client is gone.
    mutating func close(_ id: SessionID, into effects: inout [NodeCore.Effect]) {
        guard let session = sessions.removeValue(forKey: id) else { return }
        leave(session.channel, into: &effects)
    }

    /// A client wants this too.
    mutating func subscribe(
        _ id: SessionID, _ filter: Filter, into effects: inout [NodeCore.Effect]
    ) throws(NodeError) {
        var filters = sessions[id]?.filters ?? []
        filters.insert(filter)
        guard filters.count <= Self.maximumFilters else {
            throw NodeError(
                status: 400,
                message: "more than \(Self.maximumFilters) subscriptions on one connection; use wider patterns")
        }
        sessions[id]?.filters = filters
        tune(id, into: &effects)
    }

    /// A client no longer wants this; nil for nothing at all any more.
    mutating func unsubscribe(_ id: SessionID, _ filter: Filter?, into effects: inout [NodeCore.Effect]) {
        var filters = sessions[id]?.filters ?? [.all]
        if let filter { filters.remove(filter) } else { filters = [] }
        sessions[id]?.filters = filters
        tune(id, into: &effects)
    }

    private mutating func tune(_ id: SessionID, into effects: inout [NodeCore.Effect]) {
        guard let session = sessions[id] else { return }
        let wanted = session.filters ?? [.all]
        let old = session.channel
        var new: ChannelID?
        if wanted.contains(.all) {
            new = ChannelID(0)
        } else if !wanted.isEmpty {
            new = channels.first { $0.id != ChannelID(0) && $0.filters == wanted }?.id
            if new == nil {
                new = ChannelID(nextChannel)
                nextChannel += 1
                channels.append(Channel(id: ChannelID(nextChannel - 1), filters: wanted, listeners: 0))
            }
        }
        guard new != old else { return }
        if let new, let at = channels.firstIndex(where: { $0.id == new }) { channels[at].listeners += 1 }
        sessions[id]?.channel = new
        effects.append(.tune(id, new))
        leave(old, into: &effects)
    }

    private mutating func leave(_ channel: ChannelID?, into effects: inout [NodeCore.Effect]) {
        guard let channel, let at = channels.firstIndex(where: { $0.id == channel }) else { return }
        channels[at].listeners -= 1
        if channels[at].listeners == 0, channel != ChannelID(0) {
            channels.remove(at: at)
            effects.append(.closeChannel(channel))
        }
    }
}
