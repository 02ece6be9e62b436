internal import CRDT
internal import Gossip
internal import NodeCore

/// The virtual world: machines, the network between them, agents around them, and time, which only moves from one
/// thing that is due to the next.
///
/// The nodes are the production `NodeCore`, driven through its one door. One seed decides everything; the dice of the
/// network, of the workload, of the faults and of the nodes are separate, so that one more packet moves no fault.
final class Cluster {
    let seed: UInt64
    let options: Options
    let nodes: [Node]
    /// Microseconds since the world began.
    private(set) var now: UInt64 = 0
    /// The true time at the beginning, in milliseconds since the Unix epoch.
    let dawnMs: UInt64
    var agenda = Agenda()
    var network: Network
    var wires: [Wire] = []
    var sessions: [Session] = []
    var ledger = Ledger()
    var always = Always()
    var crowd: Crowd
    var society: Society
    var tally = Tally()
    var trace = Trace()
    /// The first promise that was broken.
    var violation: Violation?
    /// Writes down what a report draws; nil when nobody asked for one.
    var recorder: Recorder?
    /// Bytes that nodes handed to the network so far.
    var traffic = Traffic()
    /// When a node last ran that had gone on with what was left after a loss, in microseconds since the world began.
    private(set) var holesSince: UInt64?
    var hadHoles: Bool { holesSince != nil }
    /// What honest nodes never count, and may in this world.
    var excused: Set<String> = []
    /// Lines for people about what a story measured.
    var figures: [String] = []
    /// How often a node started anew under another id.
    var resets = 0
    /// How long nodes let a request wait for its clock: less than an agent's patience, so that it hears of it.
    static let clockWaitMs: UInt64 = 800
    /// And how long a write for others to confirm it.
    static let ackTimeoutMs: UInt64 = 700
    /// When the last of them did, in microseconds since the world began.
    var lastReset: UInt64 = 0
    /// For scenarios that draw their faults.
    var faults: Dice
    /// For nodes that start.
    var starts: Dice
    /// All faults are over.
    var isCalm = false
    /// What was lost with a machine's memory, or harmed with its disk.
    var losses: [Loss] = []
    /// Copies of disks.
    var images: [Disk] = []
    /// Entries that a durable node was given: by the place in the ledger.
    var dues: [Int: [Due]] = [:]
    private var spare = NodeCore.Effects()
    private var queries: UInt64 = 1 << 40
    private var queryAnswer: (status: UInt16, body: [UInt8])?
    private var ticksNow = (time: UInt64(0), count: 0)
    /// What was ever logged as an error or a warning, for people.
    private(set) var complaints: [String] = []
    /// Who runs; kept because it is asked for all the time.
    var running: [Node] { nodes.filter(\.isRunning) }

    init(seed: UInt64, options: Options, detail: Trace.Detail = .none) {
        func dice(_ stream: UInt64) -> Dice { Dice(seed: (seed, 0x68_7970_6861, stream, 0)) }
        self.seed = seed
        self.options = options
        var clocks = dice(1)
        nodes = (0..<options.size).map { index in
            func spread(_ limit: UInt64) -> Int64 { Int64(clocks.below(2 * limit + 1)) - Int64(limit) }
            let wrongMs = index == options.size - 1 ? options.brokenClockMs : 0
            return Node(
                index: index, skewMs: spread(options.skewMs) + wrongMs, driftPpm: spread(options.driftPpm),
                clockBase: 1_000_000 + clocks.below(1 << 40))
        }
        dawnMs = 1_767_225_600_000 + clocks.below(600_000)
        network = Network(options, dice: dice(2))
        crowd = Crowd(options, dice: dice(3))
        society = Society(dice: dice(7))
        faults = dice(4)
        starts = dice(5)
        var disks = dice(6)
        for node in nodes where options.hasDisk(node.index) { node.disk = Disk(dice: Dice(seed: disks.next())) }
        trace.detail = detail
    }

    /// The true time, in milliseconds since the Unix epoch.
    var wallMs: UInt64 { dawnMs + now / 1_000 }

    // MARK: Time

    /// Lets the world go on for so long; stops at the first broken promise.
    func run(milliseconds: UInt64) throws(Violation) { try run(until: now + milliseconds * 1_000) }

    /// Lets the world go on until this moment, in microseconds since it began; stops at the first broken promise.
    func run(until end: UInt64) throws(Violation) {
        while violation == nil, let next = agenda.nextTime, next <= end {
            sample(before: next)
            let (time, happening) = agenda.removeFirst()
            now = time
            happen(happening)
        }
        if let violation { throw violation }
        sample(before: end + 1)
        now = max(now, end)
    }

    /// Takes the samples that were due before this moment: between two happenings nothing changes.
    private func sample(before moment: UInt64) {
        guard recorder != nil else { return }
        while let due = recorder?.nextSample, due < moment { recorder?.sample(self, at: due) }
    }

    private func happen(_ happening: Happening) {
        switch happening {
        case .wake(let node, let life): wake(nodes[node], life)
        case .unpause(let node, let life): unpause(nodes[node], life)
        case .boot(let node, let life): boot(nodes[node], life)
        case .turnEnds(let node, let life): turnEnds(nodes[node], life)
        case .diskIsDone(let node, let life, let turn): diskIsDone(nodes[node], life, turn)
        case .roomReturns(let node, let filling): if filling == nodes[node].fillings { makeRoom(nodes[node]) }
        case .setBack(let node, let image, let downMs, let isTold):
            setBack(nodes[node], to: image, downMs: downMs, isTold: isTold)
        case .subside(let burst): if burst == network.bursts { network.burst = nil }
        case .quicken(let a, let b): network.quicken(a, b)
        case .datagram(let from, let to, let bytes):
            feed(nodes[to], .datagram(from: nodes[from].address), bytes)
        case .knock(let from, let life, let to, let began): knock(from: from, life: life, to: to, began: began)
        case .opened(let wire, let side): opened(wire, side)
        case .refused(let node, let life, let address):
            guard nodes[node].life == life else { return }
            tally.add(.dialsFailed)
            feed(nodes[node], .dialFailed(address))
        case .arrival(let wire, let side): arrival(wire, side)
        case .drained(let wire, let side): drained(wire, side)
        case .retransmit(let wire, let side): retransmit(wire, side)
        case .patience(let wire, let side, let token): giveUp(wire, side, token)
        case .reset(let wire, let side, let tries): reset(wire, side, tries)
        case .agent(let agent): step(agent: agent)
        case .call(let call): arrive(call: call)
        case .answer(let call, let answer): answered(call: call, answer)
        case .broken(let call): retry(call: call)
        case .impatience(let call): retry(call: call)
        case .emptied(let id): emptied(id)
        case .wanderer(let wanderer): wander(wanderer)
        case .client(let client): hop(client)
        case .connect(let client): connect(client)
        case .clientReads(let client, let connection): reads(client, connection: connection)
        case .social(let what): socialize(what)
        case .closed(let id): closed(id)
        case .overran(let id): overran(id)
        }
    }

    private func wake(_ node: Node, _ life: Int) {
        guard node.life == life, node.scheduledAt == now else { return }
        node.scheduledAt = nil
        guard let wakeAt = node.wakeAt else { return }
        guard wakeAt <= now else { return schedule(node) }
        node.wakeAt = nil
        if ticksNow.time == now / 1_000 { ticksNow.count += 1 } else { ticksNow = (now / 1_000, 0) }
        if ticksNow.count > 2_000 {
            fail("a node sleeps between ticks", "node \(node.index) was woken \(ticksNow.count) times in 1 ms")
        }
        feed(node, .tick)
    }

    func schedule(_ node: Node) {
        guard let wakeAt = node.wakeAt, wakeAt < node.scheduledAt ?? .max else { return }
        node.scheduledAt = wakeAt
        agenda.add(.wake(node: node.index, life: node.life), at: wakeAt)
    }

    // MARK: The door

    /// Gives a node an input and carries out what it answers with.
    func feed(_ node: Node, _ input: NodeCore.Input, _ bytes: [UInt8] = []) {
        guard node.isRunning, violation == nil else { return }
        if node.isPaused {
            if case .datagram = input, node.backlog.count > 512 { return tally.add(.datagramsLost) }
            return node.backlog.append((input, bytes))
        }
        trace.fold(now << 8 ^ UInt64(node.index) << 4 ^ input.code)
        trace.fold(bytes.span.bytes)
        trace.line(at: now, "n\(node.index) <- \(input.summary) \(bytes.count) B")
        if case .request(let id, _, _, _) = input { heard(Int(id.rawValue) - 1, node) }
        var effects = NodeCore.Effects()
        swap(&effects, &spare)
        node.core!.handle(input, bytes.span.bytes, now: node.clock(at: now), into: &effects)
        if node.core!.hasHoles { holesSince = now }
        let (replica, snapshots) = (node.core!.replica, node.core!.snapshotsRead)
        if replica == node.replica { noticeSnapshots(snapshots, node) }
        for effect in effects.list { carryOut(effect, effects.bytes, node) }
        effects.removeAll()
        swap(&effects, &spare)
        guard node.core != nil else { return }
        if replica != node.replica { startsAnew(node, as: replica, snapshots) }
        if node.disk != nil { inputTaken(input, node) }
    }

    private func carryOut(_ effect: NodeCore.Effect, _ bytes: [UInt8], _ node: Node) {
        trace.fold(effect.code)
        if let range = effect.range { trace.fold(bytes.span.bytes.extracting(range)) }
        if trace.isWritten, !effect.isWake { trace.line(at: now, "n\(node.index) -> \(effect.summary)") }
        if node.disk != nil, let broken = leftTooEarly(effect, node) { return fail(broken.promise, broken.detail) }
        switch effect {
        case .reply(let id, let reply, let body):
            if id.rawValue == queries {
                queryAnswer = (reply.status, Array(bytes[body]))
            } else {
                if case .event(let place, _) = crowd.calls[Int(id.rawValue) - 1].errand {
                    took(place, reply.status, bytes, body, crowd.calls[Int(id.rawValue) - 1], node)
                }
                replied(to: Int(id.rawValue) - 1, Answer(reply, bytes, body), reply.stamp, node)
            }
        case .send(let id, let range):
            if let session = session(id, at: node) { show(bytes, range, mark: nil, to: [session], of: node) }
        case .close(let id, let code, let reason):
            guard let session = session(id, at: node) else { return }
            // A node that starts anew says so, one that leaves sends its clients to others, and who is slow is told.
            let isSlow = code == 1_013 && session.client?.hasOverrun == true
            if code != 1_012, code != 1_001 || node.state != .leaving, !isSlow {
                fail("a well-behaved subscriber is not closed", "node \(node.index) closed \(id.rawValue): \(reason)")
            }
            session.isOpen = false
            if let client = session.client { sentAway(client) }
        case .tune(let id, let channel):
            guard let session = session(id, at: node) else { return }
            if let client = session.client, session.channel != channel { tuned(client) }
            session.tune(channel, after: session === node.witness ? 0 : node.witness.shown.count)
        case .broadcast(let channel, let range, let mark):
            let listeners = node.sessions.filter { $0.isOpen && $0.isTuned && $0.channel == channel }
            show(bytes, range, mark: mark, to: listeners, of: node)
        case .notify(let id):
            guard let session = session(id, at: node) else { return }
            if let client = session.client { return notify(client, id) }
            // What is sent to others arrives at once.
            agenda.add(.emptied(id), at: now + 1_000)
        case .stream(let id): fail("nobody asked for an event stream", "node \(node.index), request \(id.rawValue)")
        case .closeChannel(let channel):
            if node.sessions.contains(where: { $0.isOpen && $0.channel == channel }) {
                fail("a channel with listeners stays open", "node \(node.index) closed channel \(channel.rawValue)")
            }
        case .datagram(let to, let range): sendDatagram(from: node, to: to, Array(bytes[range]))
        case .dial(let address): dial(from: node, to: address)
        case .write(let link, let range): write(link, node, Array(bytes[range]))
        case .hangUp(let link, let flush): hangUp(link, node, flush: flush)
        case .wake(let instant):
            node.wakeAt = max(now + 1, node.world(at: instant))
            schedule(node)
        case .log(let level, let text):
            if level >= .warning, complaints.count < 1_000 { complaints.append("n\(node.index): \(text)") }
        case .disk(let job): takeJob(job, node)
        case .leaving: break
        case .left:
            recorder?.note(.left(node.index), at: now)
            end(node, as: .left)
        }
    }

    /// Records the first broken promise; the world stops there.
    func fail(_ promise: String, _ detail: String) {
        guard violation == nil else { return }
        violation = Violation(promise, detail)
        recorder?.note(.broken(promise), at: now)
        trace.line(at: now, "broken: \(promise): \(detail)")
    }

    /// Asks a node on behalf of the checkers, without a network between. It answers at once, but for what a durable node
    /// may not tell before its disk has it: for that the world goes on a little.
    func ask(
        _ node: Node, _ request: Request, _ body: [UInt8] = []
    ) throws(Violation) -> (status: UInt16, body: [UInt8]) {
        queries += 1
        queryAnswer = nil
        feed(node, .request(RequestID(queries), request), body)
        if let violation { throw violation }
        let patience = now + 2_000_000
        while queryAnswer == nil, node.isRunning, node.disk != nil || request.mayBeForwarded, now < patience {
            try run(until: now + 500)
        }
        guard let queryAnswer else {
            throw Violation("a question about the node's own state is answered at once", "node \(node.index)")
        }
        return queryAnswer
    }

    // MARK: Weather

    /// Cuts the network like this from now on, in place of what was cut before.
    func cut(_ cuts: [Cut]) {
        network.cuts = cuts
        recorder?.note(.cut(cuts), at: now)
        trace.line(at: now, cuts.isEmpty ? "the network heals" : "the network is cut: \(cuts)")
        retransmitAll()
    }

    /// Everybody reaches everybody again.
    func heal() { cut([]) }

    /// No more loss, duplication, reordering or slow links.
    func calm() {
        network.burst = nil
        network.quickenAll()
        network.lossRate = 0
        network.duplicateRate = 0
        network.reorderRate = 0
        isCalm = true
        for node in nodes where node.disk != nil { calm(node) }
    }
}
