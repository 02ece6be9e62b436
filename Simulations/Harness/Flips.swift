internal import CRDT
internal import Gossip
internal import NodeCore

/// Single bits, flipped in data directories of many shapes: whatever is started on such a directory answers as before,
/// or says what is damaged. It never answers anything else, and never ends.
///
/// A directory is what a durable node of a short stormy world had on its disk. The node is started on it alone, once as
/// it is and then with one bit flipped, again and again.
struct Flips {
    /// Bits in all.
    let count: Int
    /// The seed of the first world.
    let from: UInt64

    private static let perDirectory = 100

    /// What a start on a directory came to.
    private enum Outcome: Hashable {
        /// The same answers, and no word: the bit was nowhere that counts.
        case same
        /// The same answers, and a word.
        case told
        /// Less than before, or nothing yet: and a word.
        case toldLess
        /// It did not start, and said how to go on.
        case refused

        var text: String {
            switch self {
            case .same: "the bit means nothing there; the answers are the same"
            case .told: "the node says what is damaged, and answers the same"
            case .toldLess: "the node says what is damaged, and waits for a peer or answers with what is left"
            case .refused: "the node refuses to start, and says how to go on"
            }
        }
    }

    /// A node without a network.
    private struct Lone {
        var core: NodeCore
        var words: [String] = []

        /// Starts on a directory; its disk is prompt.
        init(_ settings: NodeSettings, _ disk: inout Disk, acceptsLoss: Bool) throws(StoreError) {
            var opening = NodeCore.Opening(freshReplica: ReplicaID(0xf1))
            opening.acceptsLoss = acceptsLoss
            core = try NodeCore.open(
                settings, &disk, opening, wallMilliseconds: Flips.wallMs, now: Flips.moment,
                dice: Dice(seed: (1, 2, 3, 4)), progress: { _, _ in })
            // The first turn makes the segment, the second commits what the start has noted.
            for input in [.tick, .turnEnded, .turnEnded] as [NodeCore.Input] { _ = give(input) }
        }

        mutating func give(_ input: NodeCore.Input) -> [UInt8]? {
            var effects = NodeCore.Effects()
            let nothing: [UInt8] = []
            core.handle(input, nothing.span.bytes, now: Flips.moment, into: &effects)
            var answer: [UInt8]?
            for effect in effects.list {
                switch effect {
                case .reply(_, let reply, let body): answer = reply.status == 200 ? Array(effects.bytes[body]) : nil
                case .log(let level, let text): if level >= .warning { words.append(text) }
                case .disk(.commit), .disk(.segment): answer = give(.disk(.committed(hasRoom: true))) ?? answer
                default: break
                }
            }
            return answer
        }

        /// All that can be read; nil for what is refused.
        mutating func everything() -> [[UInt8]?] {
            let at = Flips.wallMs + 600_000
            return [
                Request.events(.init(limit: 100_000)), .nodes(limit: 10_000),
                .signals(scope: nil, pattern: nil, minimumStrength: nil, at: at),
            ].map { give(.request(RequestID(1), $0)) }
        }
    }

    private static let wallMs: UInt64 = 1_767_225_600_000 + 86_400_000
    private static let moment = Instant(milliseconds: 1_000_000)

    /// Flips them all, prints what came of it, and says whether every start kept the promise.
    func run() -> Bool {
        var outcomes: [Outcome: Int] = [:]
        var done = 0
        var directories = 0
        var seed = from
        while done < count {
            for (settings, disk) in Self.directories(seed) where done < count {
                directories += 1
                do throws(Violation) {
                    for outcome in try flip(settings, disk, seed: seed, count: min(Self.perDirectory, count - done)) {
                        outcomes[outcome, default: 0] += 1
                        done += 1
                    }
                } catch {
                    print("broken: \(error.promise): \(error.detail)")
                    print("again: swift run -c release simulate flips --count \(Self.perDirectory * 10) --from \(seed)")
                    return false
                }
            }
            seed += 1
        }
        print("\(done) bits flipped in \(directories) data directories")
        for outcome in [Outcome.same, .told, .toldLess, .refused] {
            print(
                "\(String(repeating: " ", count: max(0, 8 - "\(outcomes[outcome] ?? 0)".count)))"
                    + "\(outcomes[outcome] ?? 0)  \(outcome.text)")
        }
        return true
    }

    /// The data directories of a short world, each with what its node is started with.
    private static func directories(_ seed: UInt64) -> [(NodeSettings, Disk)] {
        var dice = Dice(seed: (seed, 0x66_6c69_7073, 0, 0))
        var options = Options()
        options.size = 1 + Int(dice.below(3))
        options.agents = 3
        options.postIntervalMs = 150
        options.filler = dice.below(3) == 0 ? 2_000 : 0
        options.wanderers = 0
        options.clients = 0
        options.profile = .fast
        options.disks = (1 << UInt64(options.size)) - 1
        options.segmentBytes = dice.below(2) == 0 ? 8 << 10 : 1 << 20
        let world = Cluster(seed: seed, options: options)
        do throws(Violation) {
            world.startAll()
            world.startCrowd()
            for _ in 0..<1 + dice.below(4) {
                try world.run(milliseconds: 2_000 + dice.below(6_000))
                let node = Int(dice.below(UInt64(options.size)))
                world.crash(node)
                try world.run(milliseconds: 200)
                world.startAll()
            }
            // No commit is under way in the end, which would be torn.
            world.stopCrowd()
            try world.run(milliseconds: 3_000)
        } catch {
            preconditionFailure("a world with honest disks keeps its promises: \(error) in the world of seed \(seed)")
        }
        return world.nodes.compactMap { node in
            guard var disk = node.disk, !disk.isBusy else { return nil }
            disk.kill()
            disk.mount()
            return (world.settings(of: node), disk)
        }
    }

    private func flip(
        _ settings: NodeSettings, _ whole: Disk, seed: UInt64, count: Int
    ) throws(Violation) -> [Outcome] {
        var dice = Dice(seed: (seed, 0x62_6974, settings.advertise.low, 0))
        var disk = whole
        guard case .success(var lone) = Self.start(settings, &disk) else {
            throw Violation("a directory that nobody harmed can be started on", "a node of the world of seed \(seed)")
        }
        let before = lone.everything()
        guard before.allSatisfy({ $0 != nil }), lone.words.isEmpty else {
            throw Violation("a directory that nobody harmed is whole", lone.words.joined(separator: "; "))
        }
        var outcomes: [Outcome] = []
        let files = try? disk.files()
        for _ in 0..<count {
            var broken = whole
            let file = (files ?? [])[Int(dice.below(UInt64(files?.count ?? 1)))]
            let size = (try? broken.size(of: file)) ?? 1
            let (at, bit) = (Int(dice.below(max(1, size))), UInt8(dice.below(8)))
            broken.flip(file, at: at, bit: bit)
            outcomes.append(try outcome(settings, broken, before, "bit \(bit) of byte \(at) of \(size) in \(file)"))
        }
        return outcomes
    }

    private func outcome(
        _ settings: NodeSettings, _ broken: Disk, _ before: [[UInt8]?], _ place: String
    ) throws(Violation) -> Outcome {
        var disk = broken
        switch Self.start(settings, &disk) {
        case .success(var lone):
            let after = lone.everything()
            let isTold = lone.words.contains { word in
                ["damaged", "not whole", "not finished"].contains { word.contains($0) }
            }
            if after == before { return isTold ? .told : .same }
            guard isTold else { throw Violation("what differs is told", place) }
            return .toldLess
        case .failure(let error):
            guard error.cause == .damaged, error.message.contains("--accept-loss") else {
                throw Violation("a refusal says how to go on", "\(place): \(error.message)")
            }
            var again = broken
            guard case .success = Self.start(settings, &again, acceptsLoss: true) else {
                throw Violation("with the loss accepted, the node starts", place)
            }
            return .refused
        }
    }

    private static func start(
        _ settings: NodeSettings, _ disk: inout Disk, acceptsLoss: Bool = false
    ) -> Result<Lone, StoreError> {
        do throws(StoreError) {
            return .success(try Lone(settings, &disk, acceptsLoss: acceptsLoss))
        } catch {
            return .failure(error)
        }
    }
}
