import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("One bit that is wrong") struct StoreFlipTests {
    /// What a start on a directory came to.
    private enum Outcome: Equatable {
        case same
        case said
        case refused
        case wrong(String)
    }

    private static func start(_ world: StoreWorld, _ before: [String]) -> Outcome {
        var world = world
        world.lines.removeAll()
        do { try world.restart() } catch {
            guard let error = error as? StoreError else { return .wrong("\(error)") }
            return error.cause == .damaged && !error.message.contains("--accept-loss")
                ? .wrong(error.message) : .refused
        }
        let after = world.everything()
        let told = world.lines.contains {
            $0.contains("damaged") || $0.contains("not whole") || $0.contains("not finished")
        }
        if after == before { return told ? .said : .same }
        return told ? .said : .wrong("another answer and no word")
    }

    /// Directories of several shapes: young, with snapshots, restarted, with documents.
    private static func worlds() throws -> [StoreWorld] {
        var worlds: [StoreWorld] = []
        for shape in 0..<4 {
            var world = try StoreWorld(segmentBytes: shape == 0 ? nil : 6 << 10, retention: .init(bytes: 16 << 10))
            for i in 0..<(shape == 0 ? 12 : 70) {
                world.post(i, ["proposal", "reward", "penalty"][i % 3], filler: shape == 2 ? 200 : 20)
                if i % 6 == 0 { world.ask(.postNode, "{\"type\":\"agent\",\"data\":{\"number\":\(i)}}") }
                world.pass(milliseconds: 6, step: 2)
                if shape == 3, i % 20 == 19 { try world.restart() }
            }
            worlds.append(world)
        }
        return worlds
    }

    @Test("Flipping any bit of any file leaves the answers as they were, or is told")
    func flips() throws {
        var dice = Dice(seed: 7)
        var outcomes: [String: Int] = [:]
        for var world in try Self.worlds() {
            let before = world.everything()
            for _ in 0..<150 {
                var broken = world
                let files = broken.directory.contents.keys.sorted()
                let file = files[Int(dice.below(UInt64(files.count)))]
                let size = UInt64(broken.directory.contents[file]!.count)
                let (at, bit) = (Int(dice.below(size)), dice.below(8))
                broken.directory.contents[file]![at] ^= 1 << UInt8(bit)
                let outcome = Self.start(broken, before)
                if case .wrong(let why) = outcome {
                    Issue.record("bit \(bit) of byte \(at) of \(size) in \(file): \(why)")
                }
                outcomes["\(outcome)".prefix { $0 != "(" }.description, default: 0] += 1
                // And with the loss accepted, it runs.
                if outcome == .refused { try broken.restart { $0.acceptsLoss = true } }
            }
        }
        #expect((outcomes["said"] ?? 0) > 50)
    }
}
