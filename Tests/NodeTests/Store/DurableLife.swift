import CRDT
import Foundation
import Gossip
import NodeCore
import Testing

@testable import Node

/// One durable node's lives on a faulty disk: the real core, the real journal and recovery, the real writer. It is asked
/// to write, dies at any moment, and starts again on what is left.
struct DurableLife {
    let disk: FaultyDisk
    private let longest: Int
    private var writer: DiskWriter<FaultyDisk>
    private var core: NodeCore?
    private var effects = NodeCore.Effects()
    private var jobs: [DiskJob] = []
    private var results: [DiskResult] = []
    private var now = Instant(milliseconds: 1_000)
    private var dice: Dice
    private var nextRequest: UInt64 = 1
    /// Writes that wait for their answer, by request.
    private var asked: [UInt64: Int] = [:]
    private var answers: [UInt64: (status: UInt16, text: String)] = [:]
    /// Writes asked for in this test, by their number; those that were acknowledged, and what the answer was.
    private(set) var count = 0
    private(set) var acknowledged: [Int: String] = [:]
    /// The core's own lines about its start.
    private(set) var lines: [String] = []
    private(set) var starts = 0
    /// Jobs done, and snapshots among them.
    private(set) var snapshots = 0
    private(set) var timesFull = 0
    private(set) var lossesOfPower = 0

    static let startMs: UInt64 = 1_740_000_000_000

    /// A life on an empty disk. Every seventh event has so many bytes: with many, segments and snapshots come sooner.
    init(seed: UInt64, longest: Int) {
        self.longest = longest
        disk = FaultyDisk(seed: seed)
        dice = Dice(seed: seed)
        writer = Self.writer(disk)
    }

    private static func writer(_ disk: FaultyDisk) -> DiskWriter<FaultyDisk> {
        DiskWriter(disk, directory: "data", room: .init(step: 1 << 16), clock: { 0 })
    }

    /// Whether a node runs.
    var isAlive: Bool { core != nil }

    /// What belongs to the event of this number: its id, and a payload of a length that depends on it.
    private func event(_ number: Int) -> String {
        let length = number % 7 == 0 ? longest : number % 3 == 0 ? 3_000 : 50
        let text = String(repeating: "\(number),", count: length / 6)
        return
            "{\"id\":\"\(Self.id(number))\",\"type\":\"reward\",\"scope\":\"s\",\"trace_id\":\"t\",\"agent_id\":\"a\","
            + "\"parent_ids\":[],\"payload\":{\"pattern\":\"p\",\"value\":0.01,\"text\":\"\(text)\"}}"
    }

    private static func id(_ number: Int) -> String {
        let digits = String(number, radix: 16)
        return "00000000-0000-4000-8000-" + String(repeating: "0", count: 12 - digits.count) + digits
    }

    // MARK: - Living

    /// Starts a node on what the disk holds.
    mutating func start() throws(StoreError) {
        // What the lock does before anything is read.
        for name in disk.fileNames where name.hasSuffix(".tmp") { try? disk.remove(name) }
        writer = Self.writer(disk)
        (jobs, results, asked) = ([], [], [:])
        var directory = FaultyDirectory(disk)
        if let newest = directory.files().last(where: { $0.kind == .segment }) {
            // Refused where the disk fails or loses power just then: no node starts.
            do { try writer.settle(newest) } catch { return }
        }
        let settings = NodeSettings(
            name: "n", replica: ReplicaID(1), advertise: Address(ipv4: 0x7f00_0001, port: 7_946),
            replication: .init(retention: .init(bytes: 8 << 20)))
        var opening = NodeCore.Opening(freshReplica: ReplicaID(dice.next() | 1))
        // Alone, so that whatever is found damaged ends the test.
        opening.acceptsLoss = false
        now = now.advanced(milliseconds: 1_000)
        var node = try NodeCore.open(
            settings, &directory, opening, wallMilliseconds: Self.startMs + now.milliseconds, now: now,
            dice: Dice(seed: dice.next()), progress: { _, _ in })
        #expect(directory.quarantined.isEmpty, "nothing that was written and synced is damaged")
        starts += 1
        node.handle(.tick, RawSpan(), now: now, into: &effects)
        core = node
        carryOut()
    }

    /// The process ends, here and now.
    mutating func kill() {
        core = nil
        effects.removeAll()
    }

    /// One thing happens: a write, a moment's work of the disk, an answer of it, the end of a turn, time.
    mutating func step() {
        switch dice.below(16) {
        case 0..<3: write()
        case 3..<7: workOnDisk()
        case 7..<11: if !results.isEmpty { feed(.disk(results.removeFirst())) }
        case 11..<14: feed(.turnEnded)
        default:
            now = now.advanced(milliseconds: 1 + dice.below(3))
            feed(.tick)
        }
    }

    /// Everything that is under way comes to its end.
    mutating func settle() {
        var idle = 0
        // Room on a full disk is looked for once a second.
        while isAlive, idle < 8 {
            idle = jobs.isEmpty && results.isEmpty ? idle + 1 : 0
            while !jobs.isEmpty { workOnDisk() }
            while isAlive, !results.isEmpty { feed(.disk(results.removeFirst())) }
            now = now.advanced(milliseconds: idle > 2 ? 400 : 2)
            feed(.tick)
            feed(.turnEnded)
        }
    }

    private mutating func write() {
        count += 1
        asked[nextRequest] = count
        nextRequest += 1
        let bytes = Array(event(count).utf8)
        feed(.request(RequestID(nextRequest - 1), .postEvent), bytes)
    }

    private mutating func workOnDisk() {
        guard !jobs.isEmpty, isAlive else { return }
        let job = jobs.removeFirst()
        if let result = writer.perform(job) {
            if case .snapshotSaved = result { snapshots += 1 }
            if case .full = result { timesFull += 1 }
            results.append(result)
        }
        if !disk.hasPower {
            lossesOfPower += 1
            kill()
        } else if writer.hasFailed {
            kill()
        }
    }

    private mutating func feed(_ input: NodeCore.Input, _ bytes: [UInt8] = []) {
        guard var node = core else { return }
        core = nil
        node.handle(input, bytes.span.bytes, now: now, into: &effects)
        core = node
        carryOut()
    }

    private mutating func carryOut() {
        for effect in effects.list {
            switch effect {
            case .disk(let job): jobs.append(job)
            case .reply(let request, let reply, let body):
                let text = String(decoding: effects.bytes[body], as: UTF8.self)
                if let number = asked.removeValue(forKey: request.rawValue) {
                    if reply.status == 201 { acknowledged[number] = text }
                } else {
                    answers[request.rawValue] = (reply.status, text)
                }
            case .log(_, let line): lines.append(line)
            default: break
            }
        }
        effects.removeAll()
    }

    // MARK: - Checking

    /// The numbers of all events that the node holds, the oldest first, each compared with what was written.
    mutating func check() throws {
        settle()
        guard isAlive else { return }
        let request = nextRequest
        nextRequest += 1
        feed(.request(RequestID(request), .events(.init(limit: 100_000))))
        settle()
        guard isAlive else { return }
        let found = answers.removeValue(forKey: request)
        let answer = try #require(found)
        #expect(answer.status == 200)
        let list = try #require(
            try JSONSerialization.jsonObject(with: Data(answer.text.utf8)) as? [[String: Any]])
        var held: Set<Int> = []
        var order: [Int] = []
        for shown in list {
            let id = try #require(shown["id"] as? String)
            let number = try #require(Int(id.suffix(12), radix: 16))
            #expect(held.insert(number).inserted, "event \(number) twice")
            order.append(number)
            let written = try #require(
                try JSONSerialization.jsonObject(with: Data(event(number).utf8)) as? [String: Any])
            for (key, value) in written {
                #expect((shown[key] as? NSObject) == (value as? NSObject), "\(key) of event \(number)")
            }
        }
        #expect(order == order.sorted(by: >), "the newest first, in the order in which they were written")
        let missing = acknowledged.keys.filter { !held.contains($0) }.sorted()
        #expect(missing.isEmpty, "acknowledged and lost: \(missing)")
        #expect(held.allSatisfy { (1...max(1, count)).contains($0) }, "nobody wrote that")
    }
}
