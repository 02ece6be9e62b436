import CRDT
import Testing

@testable import Gossip

/// Frames as a peer may send them that is broken, newer, or means harm: whole, checksum and all.
@Suite("A hostile link")
struct HostileLinkTests {
    /// What two peers say to each other in a busy minute: frames of every type.
    private static func samples() -> [[UInt8]] {
        var world = LinkWorld(3)
        world.linkAll()
        var frames: [[UInt8]] = []
        for i in 0..<3 { world.write(i, "{\"id\":\"\(i)\"}") }
        frames += world.frames(0, 1)
        world.settle()
        world.write(2, "after the others")
        frames += world.frames(2, 1)
        world.settle()
        world.disconnect(0, 1)
        world.write(0, "missed")
        world.connect(0, 1)
        frames += world.frames(0, 1) + world.frames(1, 0)
        for _ in 0..<8 {
            world.deliver(0, 1)
            world.deliver(1, 0)
            frames += world.frames(0, 1) + world.frames(1, 0)
        }
        // One log up to 9 with its floor at 4, nothing collected, one log retired.
        let heads: [UInt8] =
            [1, 7, 0, 0, 0, 0, 0, 0, 0, 9, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0]
            + [1, 6, 0, 0, 0, 0, 0, 0, 0, 3, 7, 0, 0, 0, 0, 0, 0, 0, 2]
        for (type, body) in [
            (.have, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), (.have, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), (.want, [0]),
            (.done, [0]), (.ping, []), (.pong, []), (.standing, [0, 0]), (.heads, heads), (.snapshot, [0]),
            (.stateHashes, [0, 1, 2, 3]),
            (.hash, [7, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]), (.init(rawValue: 40), [1]),
        ] as [(Frame.FrameType, [UInt8])] {
            frames.append(sealed(type, body))
        }
        return frames
    }

    fileprivate static func sealed(_ type: Frame.FrameType, _ body: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        let start = Frame.begin(type, into: &bytes)
        bytes += body
        _ = Frame.end(start, into: &bytes)
        return bytes
    }

    /// Gives the mutilated frame a checksum that fits, as its sender would.
    private static func resealed(_ frame: [UInt8]) -> [UInt8] {
        guard frame.count >= 4 else { return frame }
        var bytes = frame
        _ = Frame.end(0, into: &bytes)
        return bytes
    }

    /// A node with one link up, and the means to get another when that one is closed.
    private struct Victim {
        var cluster = Victim.fresh()
        private var link: UInt64 = 0
        private let hello: [UInt8]
        private var effects: [Cluster.Effect] = []
        private var out: [UInt8] = []
        private var stranger: UInt64 = 1 << 40
        private(set) var closed = 0
        private(set) var resets = 0

        static func fresh() -> Cluster {
            let me = Member(
                replica: ReplicaID(50), name: "victim", gossip: LinkWorld.address(9), incarnation: Incarnation(epoch: 1)
            )
            let settings = Cluster.Settings(
                me: me, name: "test", seeds: [], profile: .lan,
                replication: .init(retention: .init(bytes: 4 << 20)))
            return Cluster(
                settings, wallMs: 1_740_000_000_000, now: Instant(milliseconds: 1_000_000), dice: Dice(seed: 1))
        }

        init(hello: [UInt8]) {
            self.hello = hello
            reconnect()
        }

        private mutating func reconnect() {
            link += 1
            give(.linkOpened(LinkID(link), dialled: nil), [])
            give(.linkFrame(LinkID(link)), hello)
            // Before the two have agreed to go on with each other, nothing that comes is read.
            give(.linkFrame(LinkID(link)), HostileLinkTests.sealed(.standing, [0, 0]))
        }

        private mutating func give(_ input: Cluster.Input, _ bytes: [UInt8]) {
            effects.removeAll(keepingCapacity: true)
            out.removeAll(keepingCapacity: true)
            cluster.handle(input, bytes.span.bytes, now: Instant(milliseconds: 1_000_500), into: &effects, &out)
        }

        /// Hears a frame; counts a link that this closes, and has another one afterwards.
        mutating func hear(_ frame: [UInt8]) {
            give(.linkFrame(LinkID(link)), frame)
            if !cluster.mesh.isOpen(LinkID(link)) { closed += 1 }
            goOn()
        }

        /// The connection is up, but nobody has said hello on it.
        mutating func hearFirst(_ frame: [UInt8]) {
            stranger += 1
            give(.linkOpened(LinkID(stranger), dialled: nil), [])
            give(.linkFrame(LinkID(stranger)), frame)
            give(.linkClosed(LinkID(stranger)), [])
            goOn()
        }

        /// As its owner would, the node starts anew where it must; and it is linked and listens again.
        private mutating func goOn() {
            let isOver = effects.contains { if case .reset = $0 { true } else { false } }
            let isListening =
                cluster.mesh.isOpen(LinkID(link))
                && cluster.replication.links.contains { $0.id == LinkID(link) && $0.isOpen }
            if isOver {
                resets += 1
                startAnew()
            } else if !isListening {
                give(.linkClosed(LinkID(link)), [])
                reconnect()
            }
        }

        mutating func startAnew() {
            cluster = Victim.fresh()
            reconnect()
        }
    }

    private static func victim(_ samples: [[UInt8]]) -> Victim {
        Victim(hello: samples.first { (try? Frame.open($0.span.bytes).0) == .hello }!)
    }

    @Test("cannot end the node by a frame that is cut, at any byte")
    func cuts() {
        let samples = Self.samples()
        var victim = Self.victim(samples)
        for sample in samples {
            for cut in 0..<sample.count {
                victim.hear(Self.resealed(Array(sample[..<cut])))
                victim.hearFirst(Self.resealed(Array(sample[..<cut])))
            }
        }
        #expect(victim.closed > 100)
        #expect(victim.cluster.mesh.linkedPeers.count == 1)
    }

    @Test("cannot end the node by a flipped bit, with or without a checksum that fits")
    func bits() {
        let samples = Self.samples()
        var victim = Self.victim(samples)
        for sample in samples {
            for bit in 0..<sample.count * 8 {
                var flipped = sample
                flipped[bit / 8] ^= 1 << UInt8(bit % 8)
                let before = victim.closed
                victim.hear(flipped)
                #expect(victim.closed == before + 1, "a checksum that does not fit closes the link")
                victim.hear(Self.resealed(flipped))
            }
            victim.startAnew()
        }
    }

    @Test("cannot end the node by thirty thousand mutations", arguments: 1...4 as ClosedRange<UInt64>)
    func mutations(seed: UInt64) {
        var dice = Dice(seed: seed)
        let samples = Self.samples()
        var victim = Self.victim(samples)
        let values: [UInt8] = [0, 1, 0x7f, 0x80, 0xff]
        for round in 0..<7_500 {
            if round % 500 == 0 { victim.startAnew() }
            var frame = samples[Int(dice.below(UInt64(samples.count)))]
            for _ in 0...dice.below(4) {
                let at = Int(dice.below(UInt64(frame.count)))
                switch dice.below(6) {
                case 0: frame[at] = UInt8(truncatingIfNeeded: dice.next())
                case 1: frame[at] = values[Int(dice.below(5))]
                case 2: frame.insert(values[Int(dice.below(5))], at: at)
                case 3: if frame.count > 8 { frame.remove(at: at) }
                case 4:
                    // A run of high bytes: a varint near its end.
                    for i in at..<min(at + 9, frame.count) { frame[i] = 0xff }
                default: frame += samples[Int(dice.below(UInt64(samples.count)))].suffix(Int(dice.below(40)))
                }
            }
            let sealed = Self.resealed(frame)
            if round % 4 == 0 { victim.hearFirst(sealed) } else { victim.hear(sealed) }
        }
        #expect(victim.closed > 300)
    }

    @Test("cannot make the node count on from the end of the numbers")
    func extremes() {
        let samples = Self.samples()
        var victim = Self.victim(samples)
        // A vector and a floor that name the node's own log, its peer's, and one that nobody has.
        for replica in [50, 1, 2, 3, 99] as [UInt64] {
            for sequence in [0, 1, 1 << 31, (1 << 62) - 1, 1 << 62, 1 << 63, .max - 1, .max] as [UInt64] {
                var vector: [UInt8] = [1]
                vector.append(littleEndian: replica)
                vector.append(varint: sequence)
                for type in [Frame.FrameType.want, .done] { victim.hear(Self.sealed(type, vector)) }
                let time = Array(repeating: UInt8(0xff), count: 8)
                victim.hear(Self.sealed(.have, [0] + time + vector))
                victim.hear(Self.sealed(.have, [1] + time + vector + time))
                victim.hear(Self.sealed(.hash, vector.dropFirst() + [1, 2, 3, 4, 5, 6, 7, 8]))
                victim.hear(Self.sealed(.heads, vector + [1] + time + vector + [0]))
                victim.hear(Self.sealed(.heads, [0, 0, 1] + vector.dropFirst() + vector.dropFirst()))
                victim.hear(Self.sealed(.facts, [0] + vector.dropFirst() + [1, 10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
            }
            victim.startAnew()
        }
        #expect(victim.closed > 0)
        #expect(victim.resets > 0, "a peer that holds more of its own log is believed")
    }
}
