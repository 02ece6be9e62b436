import CRDT
import Gossip

/// Who listens, and to what. Sessions that want the same share a channel, so that each event is framed once for all of
/// them, and an index finds the channels that want an event.
struct Sessions: Sendable {
    /// The most filters of one session.
    static let maximumFilters = 64

    /// How events reach a client.
    enum Form: UInt8, Sendable {
        /// Messages on `/ws`.
        case webSocket
        /// Server-Sent Events (HTML standard, section 9.2).
        case eventStream
        /// Server-Sent Events as Soorma's event service sends them, from queue groups alone.
        case envelopes
    }

    /// What sessions of one channel have in common.
    struct Wish: Hashable, Sendable {
        var filters: Set<Filter>
        var form = Form.webSocket
        /// Whether each event comes with a cursor to resume from.
        var wantsCursors = false
        /// Whose messages in chats it wants, if it wants any: what one agent may read is another's secret.
        var agent: [UInt8]?

        /// Every SEMP event on `/ws`, as plain SEMP clients know it.
        static let standard = Wish(filters: [.all])
    }

    struct Session: Sendable {
        let form: Form
        /// Who it is, if it said so.
        var agent: String?
        /// What it subscribed to; nil until it first does, which means everything.
        var filters: Set<Filter>?
        var wantsCursors = false
        var channel: ChannelID?
        /// It is being given what it has missed, and is on no channel.
        var resume: Resume?
        /// It wants to hear of signals.
        var signals: SignalWatch?
    }

    private struct Channel: Sendable {
        let wish: Wish
        var listeners = 0
    }

    private var sessions: [SessionID: Session] = [:]
    /// By number; channel 0 is the standard wish and always there.
    private var channels: [Channel?] = [Channel(wish: .standard)]
    private var freeChannels: [UInt32] = []
    private var numbers: [Wish: ChannelID] = [:]
    private var index = FilterIndex<ChannelID>()
    /// Sessions that are being given what they have missed.
    private(set) var resuming: Set<SessionID> = []
    /// Sessions that want to hear of signals.
    private(set) var watchers: Set<SessionID> = []
    private var agents: [String: Set<SessionID>] = [:]
    /// The channels on which an agent gets the messages of its chats, by the bytes of its name.
    private(set) var chatChannels: [[UInt8]: Set<ChannelID>] = [:]
    /// How many sessions get cursors, so that a quiet stream is told how far it has come.
    private var cursorChannels: Set<ChannelID> = []

    /// How many clients are connected.
    var count: Int { sessions.count }
    /// How many of them events reach in this form.
    func count(of form: Form) -> Int { sessions.values.count { $0.form == form } }
    /// Every connected client, in order.
    var ids: [SessionID] { sessions.keys.sorted() }
    /// How many different wishes there are.
    var channelCount: Int { numbers.count + 1 }
    /// How many filters the channels have.
    var filterCount: Int { index.count }
    /// Whether nobody listens to any channel.
    var isSilent: Bool { index.isEmpty && channels[0]?.listeners == 0 }
    /// Channels whose sessions get cursors, in order.
    var channelsWithCursors: [ChannelID] { cursorChannels.sorted() }
    /// Whether a session is to be told now and then how far it has come.
    var needsHeartbeat: Bool { !cursorChannels.isEmpty || !resuming.isEmpty }

    subscript(id: SessionID) -> Session? { sessions[id] }

    /// Whether some client has said who it is.
    var hasAgents: Bool { !agents.isEmpty }
    /// The agents that are connected here, in order.
    var agentNames: [String] { agents.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) } }

    /// The sessions of an agent here, in order.
    func ids(of agent: String) -> [SessionID] { agents[agent]?.sorted() ?? [] }

    /// What a channel's sessions have in common.
    func wish(of channel: ChannelID) -> Wish { channels[Int(channel.rawValue)]?.wish ?? .standard }

    /// Adds the channels that get an event, in order.
    func channels(for event: EventView, _ json: RawSpan, into found: inout [ChannelID]) {
        if event.surface == .semp, let standard = channels[0], standard.listeners > 0 { found.append(ChannelID(0)) }
        index.match(event, json, into: &found)
    }

    // MARK: - Changing

    /// A client connected; on `/ws` it hears everything until it subscribes.
    mutating func open(
        _ id: SessionID, _ form: Form, agent: String?, into effects: inout [NodeCore.Effect]
    ) {
        sessions[id] = Session(form: form, agent: nil, filters: form == .webSocket ? nil : [])
        identify(id, agent)
        tune(id, into: &effects)
    }

    /// A client says who it is; nil for nobody.
    mutating func identify(_ id: SessionID, _ agent: String?) {
        if let old = sessions[id]?.agent {
            agents[old]?.remove(id)
            if agents[old]?.isEmpty ?? false { agents[old] = nil }
        }
        sessions[id]?.agent = agent
        if let agent { agents[agent, default: []].insert(id) }
    }

    /// A client is gone.
    mutating func close(_ id: SessionID, into effects: inout [NodeCore.Effect]) {
        identify(id, nil)
        resuming.remove(id)
        watchers.remove(id)
        guard let session = sessions.removeValue(forKey: id) else { return }
        leave(session.channel, into: &effects)
    }

    /// A client wants this too, from now on; `resume` gives it what comes before.
    mutating func subscribe(
        _ id: SessionID, _ wanted: [Filter], wantsCursors: Bool, resume: Resume?,
        into effects: inout [NodeCore.Effect]
    ) throws(NodeError) {
        let filters = (sessions[id]?.filters ?? []).union(wanted)
        guard filters.count <= Self.maximumFilters else {
            throw NodeError(
                status: 400,
                message: "more than \(Self.maximumFilters) subscriptions on one connection; use wider patterns")
        }
        sessions[id]?.filters = filters
        if wantsCursors { sessions[id]?.wantsCursors = true }
        if let resume { setResume(id, resume) }
        tune(id, into: &effects)
    }

    /// A client no longer wants this; nil for nothing at all any more.
    mutating func unsubscribe(
        _ id: SessionID, _ filter: Filter?, into effects: inout [NodeCore.Effect]
    ) {
        var filters = sessions[id]?.filters ?? [.all]
        if let filter { filters.remove(filter) } else { filters = [] }
        sessions[id]?.filters = filters
        if filters.isEmpty { setResume(id, nil) }
        tune(id, into: &effects)
    }

    /// How far a session is with what it has missed; nil once it has all of it.
    mutating func setResume(_ id: SessionID, _ resume: Resume?) {
        guard sessions[id] != nil else { return }
        sessions[id]?.resume = resume
        if resume == nil { resuming.remove(id) } else { resuming.insert(id) }
    }

    /// Which signals a session wants to hear of; nil for none.
    mutating func setSignals(_ id: SessionID, _ watch: SignalWatch?) {
        guard sessions[id] != nil else { return }
        sessions[id]?.signals = watch
        if watch == nil { watchers.remove(id) } else { watchers.insert(id) }
    }

    /// The client was taken off its channel: it read too slowly.
    mutating func overran(_ id: SessionID, into effects: inout [NodeCore.Effect]) {
        sessions[id]?.filters = []
        setResume(id, nil)
        setSignals(id, nil)
        guard let channel = sessions[id]?.channel else { return }
        sessions[id]?.channel = nil
        leave(channel, into: &effects)
    }

    /// Puts a session on the channel of those that want the same.
    mutating func tune(_ id: SessionID, into effects: inout [NodeCore.Effect]) {
        guard let session = sessions[id] else { return }
        let filters = session.filters ?? [.all]
        let wantsChats = filters.contains { $0.surface == .chat }
        let wish = Wish(
            filters: filters, form: session.form, wantsCursors: session.wantsCursors,
            agent: wantsChats ? session.agent.map { Array($0.utf8) } : nil)
        let old = session.channel
        let new = session.resume != nil || wish.filters.isEmpty ? nil : channel(for: wish)
        guard new != old else { return }
        if let new { channels[Int(new.rawValue)]?.listeners += 1 }
        sessions[id]?.channel = new
        effects.append(.tune(id, new))
        leave(old, into: &effects)
    }

    private mutating func channel(for wish: Wish) -> ChannelID {
        if wish.form == .webSocket, !wish.wantsCursors, wish.filters.contains(.all) {
            // A SEMP filter beside one for everything adds nothing.
            if wish.filters.allSatisfy({ $0.surface == .semp }) { return ChannelID(0) }
        }
        if let known = numbers[wish] { return known }
        let number = freeChannels.popLast() ?? UInt32(channels.count)
        if Int(number) == channels.count { channels.append(nil) }
        channels[Int(number)] = Channel(wish: wish)
        let id = ChannelID(number)
        numbers[wish] = id
        for filter in wish.filters { index.insert(filter, id) }
        if wish.wantsCursors { cursorChannels.insert(id) }
        if let agent = wish.agent { chatChannels[agent, default: []].insert(id) }
        return id
    }

    private mutating func leave(_ channel: ChannelID?, into effects: inout [NodeCore.Effect]) {
        guard let channel, let left = channels[Int(channel.rawValue)] else { return }
        channels[Int(channel.rawValue)]?.listeners -= 1
        guard left.listeners == 1, channel != ChannelID(0) else { return }
        channels[Int(channel.rawValue)] = nil
        freeChannels.append(channel.rawValue)
        numbers[left.wish] = nil
        for filter in left.wish.filters { index.remove(filter, channel) }
        cursorChannels.remove(channel)
        if let agent = left.wish.agent {
            chatChannels[agent]?.remove(channel)
            if chatChannels[agent]?.isEmpty ?? false { chatChannels[agent] = nil }
        }
        effects.append(.closeChannel(channel))
    }
}
