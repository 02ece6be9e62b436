import CRDT
import Foundation
import Gossip
import Testing

@testable import NodeCore

/// What a node answered.
struct Answer {
    let status: UInt16
    let text: String
    let tick: UInt64?
    /// The text of `Hypha-Stamp`; empty for none.
    var stamp = ""
    /// The texts of `Hypha-Clock`, `Hypha-Clock-Behind` and `Hypha-Clock-Lost`; empty for none.
    var clock = ""
    var behind = ""
    var lost = ""
    /// The text of `Hypha-Ack`; empty for none.
    var ack = ""

    /// The answer as an object; empty if it is none.
    var object: [String: Any] {
        (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [String: Any] ?? [:]
    }
    /// The answer as an array of objects; empty if it is none.
    var list: [[String: Any]] {
        (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [[String: Any]] ?? []
    }
    var id: String { object["id"] as? String ?? "" }
    var message: String { object["message"] as? String ?? "" }
    var signals: [String] { object["signals"] as? [String] ?? [] }
}

/// A few nodes without a network: what one writes to another waits until the test delivers it, and time stands still
/// until the test moves it.
struct NodeWorld {
    private(set) var nodes: [NodeCore] = []
    /// What was sent to sessions, per node.
    private(set) var sent: [[(session: SessionID, text: String)]] = []
    /// What was broadcast on channels, per node.
    private(set) var broadcasts: [[(channel: ChannelID, text: String)]] = []
    /// Which channel each session is tuned to, per node; no entry where it is tuned to none.
    private(set) var tuned: [[SessionID: ChannelID]] = []
    /// Requests that became event streams, per node.
    private(set) var streams: [[UInt64]] = []
    /// Everything that each session got, in order, by itself or on its channel, per node.
    private(set) var heard: [[SessionID: [String]]] = []
    /// Channels closed, per node.
    private(set) var closedChannels: [[ChannelID]] = []
    /// Log lines, per node.
    private(set) var lines: [[String]] = []
    /// Every reply given, per node.
    private(set) var replies: [[(request: UInt64, answer: Answer)]] = []
    /// When each node last asked to be woken.
    private(set) var wakes: [Instant?] = []
    var now = Instant(milliseconds: 1_000)
    /// Dials are carried out, and datagrams arrive.
    var hasNetwork = false
    /// Nodes between which and the others nothing passes.
    var cutOff: Set<Int> = [] {
        didSet {
            for (link, ends) in ends where isCut(ends[0], ends[1]) { close(link, noticedBy: ends) }
        }
    }
    /// Nodes whose frames do not leave for now, as if their disk were slow; their replies do.
    var silent: Set<Int> = [] {
        didSet {
            inputs += held.filter { !silent.contains($0.from) }.map { ($0.to, $0.input, $0.bytes) }
            held.removeAll { !silent.contains($0.from) }
        }
    }
    /// What ended sessions, per node.
    private(set) var closedSessions: [[(session: SessionID, code: UInt16)]] = []
    private var inputs: [(to: Int, input: NodeCore.Input, bytes: [UInt8])] = []
    private var held: [(from: Int, to: Int, input: NodeCore.Input, bytes: [UInt8])] = []
    private var ends: [LinkID: [Int]] = [:]
    private var nextLink: UInt64 = 1

    /// Milliseconds since the Unix epoch on an exact clock, when a test begins.
    static let startMs: UInt64 = 1_740_000_030_123

    /// One node per clock, which is so many milliseconds ahead of the exact one. Replica ids are 0xa1, 0xa2…
    /// Of those in `durable` the others believe that they are.
    init(
        clocksAheadMs: [Int64] = [0], logBytes: Int = 1 << 30, replication: Replication.Settings? = nil,
        profile: Profile = .lan, clockWaitMs: UInt64 = 2_000, durable: Set<Int> = []
    ) {
        for (i, aheadMs) in clocksAheadMs.enumerated() {
            add(
                aheadMs: aheadMs, replication: replication ?? .init(retention: .init(bytes: logBytes)),
                profile: profile, clockWaitMs: clockWaitMs, isDurable: durable.contains(i))
        }
    }

    /// One more node, which looks for the others if there is a network.
    mutating func add(
        aheadMs: Int64 = 0, replication: Replication.Settings = .init(), profile: Profile = .lan,
        clockWaitMs: UInt64 = 2_000, replica: ReplicaID? = nil, isDurable: Bool = false
    ) {
        let i = nodes.count
        var settings = NodeSettings(
            name: "n\(i)", replica: replica ?? ReplicaID(0xa1 + UInt64(i)),
            advertise: Address(ipv4: 0x7f00_0001 + UInt32(i), port: 7946), httpAddress: "127.0.0.1:\(5000 + i)",
            seeds: hasNetwork && i > 0 ? [address(0)] : [], profile: profile, replication: replication,
            clockWaitMs: clockWaitMs)
        settings.isDurable = isDurable
        let elapsed = now.milliseconds - 1_000
        nodes.append(
            NodeCore(
                settings, wallMilliseconds: UInt64(Int64(Self.startMs + elapsed) + aheadMs), now: now,
                dice: Dice(seed: UInt64(i) + 1)))
        sent.append([])
        broadcasts.append([])
        (streams, heard) = (streams + [[]], heard + [[:]])
        tuned.append([:])
        closedChannels.append([])
        closedSessions.append([])
        lines.append([])
        replies.append([])
        wakes.append(hasNetwork ? now : nil)
    }

    // MARK: - Asking

    /// The answers that a request got.
    func answers(_ i: Int, to request: UInt64 = 7) -> [Answer] {
        replies[i].filter { $0.request == request }.map(\.answer)
    }

    /// Forgets the answers that a request got.
    mutating func forget(_ i: Int, _ request: UInt64) { replies[i].removeAll { $0.request == request } }

    mutating func ask(_ i: Int, _ request: Request, _ body: [UInt8]) -> Answer {
        give(.request(RequestID(1), request), body, to: i)!
    }

    mutating func ask(_ i: Int, _ request: Request, _ body: String = "") -> Answer { ask(i, request, Array(body.utf8)) }
    mutating func post(_ i: Int, _ event: String) -> Answer { ask(i, .postEvent, event) }

    /// Posts an event with these members besides the three texts that every event needs.
    mutating func post(
        _ i: Int, id: String? = nil, _ type: String, scope: String = "ui", trace: String = "t", parents: [String] = [],
        _ payload: String
    ) -> Answer {
        let id = id.map { "\"id\":\"\($0)\"," } ?? ""
        let parents = parents.map { "\"\($0)\"" }.joined(separator: ",")
        return post(
            i,
            "{\(id)\"type\":\"\(type)\",\"scope\":\"\(scope)\",\"trace_id\":\"\(trace)\",\"agent_id\":\"a\","
                + "\"parent_ids\":[\(parents)],\"payload\":\(payload)}")
    }

    /// Every signal's strength, as "scope/pattern". Read with the node's own parser: Foundation takes numbers through
    /// decimals and loses their last bit.
    mutating func strengths(_ i: Int, at: UInt64? = nil) -> [String: Double] {
        let text = ask(i, .signals(scope: nil, pattern: nil, minimumStrength: nil, at: at)).text
        guard case .array(let list)? = try? JSONValue(Array(text.utf8)) else { return [:] }
        var strengths: [String: Double] = [:]
        for signal in list {
            guard let scope = signal["scope"]?.string, let pattern = signal["pattern"]?.string else { continue }
            strengths["\(scope)/\(pattern)"] = signal["strength"]?.double
        }
        return strengths
    }

    mutating func open(_ session: UInt64, at i: Int) { give(.sessionOpened(SessionID(session)), [], to: i) }
    mutating func say(_ session: UInt64, _ text: String, to i: Int) {
        give(.sessionText(SessionID(session)), Array(text.utf8), to: i)
    }
    mutating func close(_ session: UInt64, at i: Int) { give(.sessionClosed(SessionID(session)), [], to: i) }

    /// The ids of the events that a session was sent, in order, by what is broadcast on its channel now.
    func delivered(_ session: UInt64, at i: Int) -> [String] {
        guard let channel = tuned[i][SessionID(session)] else { return [] }
        return broadcasts[i].filter { $0.channel == channel }.map { frame in
            let object = (try? JSONSerialization.jsonObject(with: Data(frame.text.utf8))) as? [String: Any]
            return (object?["data"] as? [String: Any])?["id"] as? String ?? ""
        }
    }

    // MARK: - Links

    /// Links two nodes and lets them say hello.
    @discardableResult
    mutating func link(_ a: Int, _ b: Int) -> LinkID {
        let id = LinkID(nextLink)
        nextLink += 1
        ends[id] = [a, b]
        let (left, right) = (address(a), address(b))
        give(.linkOpened(id, remote: right, dialled: right), [], to: a)
        give(.linkOpened(id, remote: left, dialled: nil), [], to: b)
        deliver()
        return id
    }

    private func address(_ i: Int) -> Address { nodes[i].settings.advertise }
    private func isCut(_ a: Int, _ b: Int) -> Bool { cutOff.contains(a) != cutOff.contains(b) }

    /// The link between two nodes is gone, and both notice.
    mutating func unlink(_ a: Int, _ b: Int) {
        for (link, ends) in ends where Set(ends) == [a, b] { close(link, noticedBy: ends) }
    }

    private mutating func close(_ link: LinkID, noticedBy nodes: [Int]) {
        ends[link] = nil
        held.removeAll { if case .linkFrame(link) = $0.input { true } else { false } }
        inputs.removeAll {
            switch $0.input {
            case .linkFrame(link), .linkDrained(link): true
            default: false
            }
        }
        for i in nodes { give(.linkClosed(link), [], to: i) }
    }

    /// Delivers all that is on its way, and all that this causes.
    mutating func deliver() {
        while !inputs.isEmpty {
            let next = inputs.removeFirst()
            give(next.input, next.bytes, to: next.to)
        }
    }

    /// Time passes; whatever is sent arrives at once.
    mutating func run(milliseconds: UInt64) {
        let end = now.advanced(milliseconds: milliseconds)
        deliver()
        while let next = nodes.indices.filter({ (wakes[$0] ?? end.advanced(milliseconds: 1)) <= end })
            .min(by: { wakes[$0]! < wakes[$1]! })
        {
            now = max(now, wakes[next]!)
            wakes[next] = nil
            give(.tick, [], to: next)
            deliver()
        }
        now = end
    }

    /// Time passes for one node alone.
    mutating func tick(_ i: Int, afterMs: UInt64 = 0) {
        now = now.advanced(milliseconds: afterMs)
        give(.tick, [], to: i)
    }

    /// Breaks something inside a node.
    mutating func tamper(_ i: Int, _ body: (inout NodeCore) -> Void) { body(&nodes[i]) }

    mutating func metric(_ i: Int, _ name: String) -> Int? {
        let text = ask(i, .metrics(.init())).text
        return text.split(separator: "\n").first { $0.hasPrefix("hypha_\(name) ") }
            .flatMap { Int($0.split(separator: " ")[1]) }
    }

    /// Hands one input to a node, carries out what it wants, and returns its reply if there is one.
    @discardableResult
    mutating func give(_ input: NodeCore.Input, _ bytes: [UInt8], to i: Int) -> Answer? {
        var effects = NodeCore.Effects()
        nodes[i].handle(input, bytes.span.bytes, now: now, into: &effects)
        return carryOut(effects, of: i)
    }

    /// Lets a node do something of its own accord.
    mutating func act(_ i: Int, _ body: (inout NodeCore, Instant, inout NodeCore.Effects) throws -> Void) rethrows {
        var effects = NodeCore.Effects()
        try body(&nodes[i], now, &effects)
        carryOut(effects, of: i)
    }

    /// Lets a node start anew, as below its peers' floor.
    mutating func startAnew(_ i: Int) {
        var effects = NodeCore.Effects()
        let reset = Reset(cause: .belowFloor, why: "a test says so", known: VersionVector(), side: nil)
        nodes[i].reset(reset, now: now, into: &effects)
        carryOut(effects, of: i)
    }

    @discardableResult
    private mutating func carryOut(_ effects: NodeCore.Effects, of i: Int) -> Answer? {
        func text(_ range: Range<Int>) -> String { String(decoding: effects.bytes[range], as: UTF8.self) }
        var answer: Answer?
        for effect in effects.list {
            switch effect {
            case .reply(let request, let reply, let body):
                let given = Answer(
                    status: reply.status, text: text(body), tick: reply.tick,
                    stamp: reply.stamp?.description ?? "", clock: text(reply.clock),
                    behind: String(decoding: reply.behind, as: UTF8.self),
                    lost: String(decoding: reply.lost, as: UTF8.self), ack: reply.ack?.description ?? "")
                answer = given
                replies[i].append((request.rawValue, given))
            case .send(let session, let range):
                sent[i].append((session, text(range)))
                heard[i][session, default: []].append(text(range))
            case .broadcast(let channel, let range, _):
                broadcasts[i].append((channel, text(range)))
                for (session, tuned) in tuned[i] where tuned == channel {
                    heard[i][session, default: []].append(text(range))
                }
            case .tune(let session, let channel): tuned[i][session] = channel
            case .closeChannel(let channel): closedChannels[i].append(channel)
            case .close(let session, let code, _): closedSessions[i].append((session, code))
            case .write(let link, let range):
                guard let both = ends[link] else { break }
                for other in both where other != i {
                    let frame = Array(effects.bytes[range])
                    if silent.contains(i) {
                        held.append((i, other, .linkFrame(link), frame))
                    } else {
                        inputs.append((other, .linkFrame(link), frame))
                    }
                }
                inputs.append((i, .linkDrained(link), []))
            case .datagram(let to, let range):
                guard hasNetwork, let other = nodes.indices.first(where: { address($0) == to }), !isCut(i, other)
                else { break }
                inputs.append((other, .datagram(from: address(i)), Array(effects.bytes[range])))
            case .dial(let to):
                guard hasNetwork else { break }
                dial(to, from: i)
            case .log(_, let line): lines[i].append(line)
            case .hangUp(let link, let flush): hangUp(link, flush: flush, from: i)
            case .wake(let at):
                #expect(at >= now, "a wake-up in the past")
                wakes[i] = at
            case .notify(let session): inputs.append((i, .sessionEmptied(session), []))
            case .stream(let request): streams[i].append(request.rawValue)
            case .disk, .leaving, .left: break
            }
        }
        return answer
    }

    private mutating func dial(_ to: Address, from i: Int) {
        guard let other = nodes.indices.first(where: { address($0) == to }), !isCut(i, other) else {
            return inputs.append((i, .dialFailed(to), []))
        }
        let id = LinkID(nextLink)
        nextLink += 1
        ends[id] = [i, other]
        inputs.append((i, .linkOpened(id, remote: to, dialled: to), []))
        inputs.append((other, .linkOpened(id, remote: address(i), dialled: nil), []))
    }

    private mutating func hangUp(_ link: LinkID, flush: Bool, from i: Int) {
        lines[i].append("hung up \(link.rawValue)")
        guard let other = ends[link]?.first(where: { $0 != i }) else { return }
        if flush {
            for next in inputs where next.to == other {
                if case .linkFrame(link) = next.input { give(next.input, next.bytes, to: other) }
            }
        }
        close(link, noticedBy: [other])
    }
}

/// A UUID that a test can tell from others.
func id(_ number: Int) -> String {
    let digits = String(number, radix: 16)
    return "0190b5e2-7c1a-4d3e-9f00-" + String(repeating: "0", count: 12 - digits.count) + digits
}
