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
    /// The texts of `Hypha-Clock`, `Hypha-Clock-Behind` and `Hypha-Clock-Lost`; empty for none.
    var clock = ""
    var behind = ""
    var lost = ""

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
    /// Channels closed, per node.
    private(set) var closedChannels: [[ChannelID]] = []
    /// Log lines, per node.
    private(set) var lines: [[String]] = []
    /// Every reply given, per node.
    private(set) var replies: [[(request: UInt64, answer: Answer)]] = []
    /// When each node last asked to be woken.
    private(set) var wakes: [Instant?] = []
    var now = Instant(milliseconds: 1_000)
    private var parcels: [(link: LinkID, to: Int, bytes: [UInt8])] = []
    private var ends: [LinkID: [Int]] = [:]
    private var nextLink: UInt64 = 1

    /// Milliseconds since the Unix epoch on an exact clock, when a test begins.
    static let startMs: UInt64 = 1_740_000_030_123

    /// One node per clock, which is so many milliseconds ahead of the exact one. Replica ids are 0xa1, 0xa2…
    init(clocksAheadMs: [Int64] = [0], logBytes: Int = 1 << 30, clockWaitMs: UInt64 = 2_000) {
        for (i, aheadMs) in clocksAheadMs.enumerated() {
            let settings = NodeSettings(
                name: "n\(i)", replica: ReplicaID(0xa1 + UInt64(i)),
                advertise: Address(ipv4: 0x7f00_0001 + UInt32(i), port: 7946), httpAddress: "127.0.0.1:\(5000 + i)",
                replication: .init(retention: .init(bytes: logBytes)), clockWaitMs: clockWaitMs)
            nodes.append(
                NodeCore(
                    settings, wallMilliseconds: UInt64(Int64(Self.startMs) + aheadMs), now: now,
                    dice: Dice(seed: UInt64(i) + 1)))
            sent.append([])
            broadcasts.append([])
            tuned.append([:])
            closedChannels.append([])
            lines.append([])
            replies.append([])
            wakes.append(nil)
        }
    }

    // MARK: - Asking

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

    /// Delivers all that is on its way, and all that this causes.
    mutating func deliver() {
        while !parcels.isEmpty {
            let parcel = parcels.removeFirst()
            give(.linkFrame(parcel.link), parcel.bytes, to: parcel.to)
        }
    }

    /// Hands one input to a node, carries out what it wants, and returns its reply if there is one.
    @discardableResult
    mutating func give(_ input: NodeCore.Input, _ bytes: [UInt8], to i: Int) -> Answer? {
        var effects = NodeCore.Effects()
        nodes[i].handle(input, bytes.span.bytes, now: now, into: &effects)
        func text(_ range: Range<Int>) -> String { String(decoding: effects.bytes[range], as: UTF8.self) }
        var answer: Answer?
        for effect in effects.list {
            switch effect {
            case .reply(let request, let reply, let body):
                let given = Answer(
                    status: reply.status, text: text(body), tick: reply.tick, clock: text(reply.clock),
                    behind: String(decoding: reply.behind, as: UTF8.self),
                    lost: String(decoding: reply.lost, as: UTF8.self))
                answer = given
                replies[i].append((request.rawValue, given))
            case .send(let session, let range): sent[i].append((session, text(range)))
            case .broadcast(let channel, let range): broadcasts[i].append((channel, text(range)))
            case .tune(let session, let channel): tuned[i][session] = channel
            case .closeChannel(let channel): closedChannels[i].append(channel)
            case .write(let link, let range):
                for other in ends[link] ?? [] where other != i {
                    parcels.append((link, other, Array(effects.bytes[range])))
                }
            case .log(_, let line): lines[i].append(line)
            case .hangUp(let link, _): lines[i].append("hung up \(link.rawValue)")
            case .wake(let at):
                #expect(at >= now, "a wake-up in the past")
                wakes[i] = at
            case .close, .datagram, .dial, .left: break
            }
        }
        return answer
    }
}

/// A UUID that a test can tell from others.
func id(_ number: Int) -> String {
    let digits = String(number, radix: 16)
    return "0190b5e2-7c1a-4d3e-9f00-" + String(repeating: "0", count: 12 - digits.count) + digits
}
