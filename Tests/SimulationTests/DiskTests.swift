import Gossip
import NodeCore
import Testing

@testable import Simulate

/// Does to a disk what a node would, and waits for it.
private struct Desk {
    var disk: Disk

    init(seed: UInt64) { disk = Disk(dice: Dice(seed: seed)) }

    /// The answers to all that is under way.
    @discardableResult mutating func settle() -> [DiskResult] {
        var answers: [DiskResult] = []
        while disk.isBusy || disk.begin(at: 0) != nil { answers.append(disk.complete()) }
        return answers
    }

    @discardableResult mutating func carryOut(_ jobs: DiskJob...) -> [DiskResult] {
        for job in jobs { disk.take(job) }
        return settle()
    }

    mutating func begin(_ jobs: DiskJob...) {
        for job in jobs { disk.take(job) }
        _ = disk.begin(at: 0)
    }

    /// What whoever starts now reads of a file; nil when it is not there.
    mutating func read(_ file: DataFile, count: Int = 1 << 20) -> [UInt8]? {
        guard let files = try? disk.files(), files.contains(file) else { return nil }
        return try? disk.read(file, from: 0, count: count)
    }
}

private func bytes(_ value: UInt8, _ count: Int) -> [UInt8] { [UInt8](repeating: value, count: count) }

extension DiskResult {
    fileprivate var word: String {
        switch self {
        case .committed(true): "committed"
        case .committed(false): "short"
        case .full: "full"
        case .room(let hasRoom): "room \(hasRoom)"
        case .snapshotSaved(let number): "saved \(number)"
        case .snapshotLost(let number, _): "lost \(number)"
        case .failed: "failed"
        }
    }
}

@Suite("A disk keeps what was synced, and nothing else for certain")
struct DiskTests {
    @Test("What was synced is there after a power loss, to the byte, whatever was under way")
    func synced() {
        for seed in 1...200 as ClosedRange<UInt64> {
            var desk = Desk(seed: seed)
            desk.carryOut(.segment(1, bytes(1, 100)), .commit(bytes(2, 900)))
            desk.begin(.commit(bytes(3, 3_000)), .remove([.segment(1)]))
            desk.disk.losePower()
            desk.disk.mount()
            let found = desk.read(.segment(1)) ?? []
            #expect(Array(found.prefix(1_000)) == bytes(1, 100) + bytes(2, 900))
        }
    }

    @Test("Of what was not synced, any subset of the sectors survives: none, all and some are all seen")
    func torn() {
        var seen: Set<String> = []
        for seed in 1...300 as ClosedRange<UInt64> {
            var desk = Desk(seed: seed)
            desk.carryOut(.segment(1, bytes(1, 100)))
            desk.begin(.commit(bytes(3, 5_000)))
            desk.disk.losePower()
            desk.disk.mount()
            let found = Array(((desk.read(.segment(1)) ?? []) + bytes(0, 6_000)).dropFirst(100).prefix(5_000))
            // Sectors are those of the file, not of the commit.
            for start in stride(from: 512, to: 5_100, by: 512) {
                let sector = found[max(0, start - 100)..<min(5_000, start + 412)]
                #expect(Set(sector).count == 1, "a sector is there or it is not")
            }
            #expect(found.allSatisfy { $0 == 3 || $0 == 0 })
            let there = found.count { $0 == 3 }
            seen.insert(there == 0 ? "none" : there == 5_000 ? "all" : "some")
            // A hole before something that is there, which no cut-off tail has.
            if let first = found.firstIndex(of: 0), found[first...].contains(3) { seen.insert("hole") }
        }
        #expect(seen == ["none", "all", "some", "hole"])
    }

    @Test("After kill -9 the commit under way is there up to any byte, and nothing of what was waiting behind it")
    func killed() {
        var lengths: Set<Int> = []
        for seed in 1...300 as ClosedRange<UInt64> {
            var desk = Desk(seed: seed)
            desk.carryOut(.segment(1, bytes(1, 100)))
            desk.begin(.commit(bytes(3, 40)), .commit(bytes(4, 40)))
            desk.disk.kill()
            desk.disk.mount()
            let found = desk.read(.segment(1)) ?? []
            #expect(!found.contains(4))
            let there = found.count { $0 == 3 }
            #expect(Array(found[100..<100 + there]) == bytes(3, there))
            lengths.insert(there)
        }
        #expect(lengths.contains(0) && lengths.contains(40) && lengths.count > 30)
    }

    @Test("What a killed process had written is only in the cache: a power loss before anybody starts takes it")
    func cache() {
        var survived = 0
        for seed in 1...100 as ClosedRange<UInt64> {
            var desk = Desk(seed: seed)
            desk.carryOut(.segment(1, bytes(1, 512)))
            desk.begin(.commit(bytes(3, 4_096)))
            desk.disk.kill()
            var mounted = desk
            mounted.disk.mount()
            let written = mounted.read(.segment(1)) ?? []
            mounted.disk.losePower()
            #expect(mounted.read(.segment(1))?.count { $0 == 3 } == written.count { $0 == 3 }, "who opens it syncs it")
            desk.disk.losePower()
            if desk.read(.segment(1))?.count(where: { $0 == 3 }) == written.count(where: { $0 == 3 }) { survived += 1 }
        }
        #expect(0 < survived && survived < 100)
    }

    @Test("A segment that was not synced may be there or not; a snapshot is there whole or not at all")
    func names() {
        var segments: Set<Bool> = []
        var snapshots: Set<Bool> = []
        for seed in 1...200 as ClosedRange<UInt64> {
            for isPower in [false, true] {
                var desk = Desk(seed: seed)
                desk.carryOut(.segment(1, bytes(1, 100)))
                var other = desk
                desk.begin(.segment(2, bytes(2, 2_000)))
                other.begin(.snapshot(1, bytes(5, 700)), .snapshot(1, bytes(6, 700)), .finishSnapshot(1))
                if isPower {
                    desk.disk.losePower()
                    other.disk.losePower()
                } else {
                    desk.disk.kill()
                    other.disk.kill()
                }
                segments.insert(desk.read(.segment(2)) != nil)
                let snapshot = other.read(.snapshot(1))
                snapshots.insert(snapshot != nil)
                #expect(snapshot == nil || snapshot == bytes(5, 700) + bytes(6, 700))
                #expect(desk.read(.segment(1))?.first == 1)
            }
        }
        #expect(segments == [false, true] && snapshots == [false, true])
    }

    @Test("A removed file may come back after a power loss, until its directory was synced")
    func removals() {
        func isBack(_ seed: UInt64, synced: Bool) -> Bool {
            var desk = Desk(seed: seed)
            desk.carryOut(.segment(1, bytes(1, 100)), .segment(2, bytes(2, 100)), .remove([.segment(1)]))
            #expect(desk.read(.segment(1)) == nil)
            if synced { desk.carryOut(.segment(3, bytes(3, 100))) }
            desk.disk.losePower()
            return desk.read(.segment(1)) != nil
        }
        let seeds = 1...100 as ClosedRange<UInt64>
        #expect(Set(seeds.map { isBack($0, synced: false) }) == [false, true])
        #expect(Set(seeds.map { isBack($0, synced: true) }) == [false])
    }

    @Test("Zeros stand behind the end of a segment, and files are read in pieces")
    func zeros() throws {
        var desk = Desk(seed: 5)
        desk.carryOut(.segment(7, bytes(7, 10)))
        let size = try desk.disk.size(of: .segment(7))
        #expect(size >= UInt64(10 + desk.disk.reserveBytes))
        #expect(try desk.disk.read(.segment(7), from: 8, count: 4) == [7, 7, 0, 0])
        #expect(try desk.disk.read(.segment(7), from: size - 2, count: 4) == [0, 0])
        #expect(try desk.disk.read(.segment(7), from: size + 9, count: 4) == [])
        #expect(throws: StoreError.self) { try desk.disk.size(of: .segment(8)) }
        #expect(throws: StoreError.self) { try desk.disk.quarantine(.snapshot(7)) }
        try desk.disk.quarantine(.segment(7))
        try desk.disk.quarantine(.segment(7))
        #expect(desk.disk.quarantined == [.segment(7)])
    }

    @Test("A full disk says so while what is under way still fits, then takes nothing, and all again once it has room")
    func full() {
        for seed in 1...20 as ClosedRange<UInt64> {
            var desk = Desk(seed: seed)
            desk.carryOut(.segment(1, bytes(1, 100)))
            desk.disk.capacity = desk.disk.usedBytes
            var words: [String] = []
            var written = 100
            while words.last != "full", words.count < 1_000 {
                words += desk.carryOut(.commit(bytes(2, 500))).map(\.word)
                if words.last != "full" { written += 500 }
            }
            let firstShort = words.firstIndex(of: "short") ?? words.count
            #expect(words.count < 1_000 && firstShort < words.count - 1, "it is told before it is full: \(words)")
            #expect(!words[firstShort...].contains("committed"))
            #expect(desk.read(.segment(1))?.count { $0 != 0 } == written, "nothing is left of what found no room")
            #expect(desk.carryOut(.segment(2, bytes(9, 1 << 17)), .findRoom).map(\.word) == ["full", "room false"])
            #expect(desk.read(.segment(2)) == nil)
            let snapshot = desk.carryOut(.snapshot(1, bytes(8, 1 << 17)), .finishSnapshot(1)).map(\.word)
            #expect(snapshot == ["lost 1"] && desk.read(.snapshot(1)) == nil)
            desk.disk.capacity = nil
            #expect(desk.carryOut(.findRoom, .commit(bytes(2, 500))).map(\.word) == ["room true", "committed"])
            #expect(desk.carryOut(.snapshot(1, bytes(8, 9)), .finishSnapshot(1)).map(\.word) == ["saved 1"])
        }
    }

    @Test("A removed file gives its room back, and a dropped snapshot too")
    func room() {
        var desk = Desk(seed: 3)
        desk.carryOut(.segment(1, bytes(1, 100_000)), .segment(2, bytes(1, 100)))
        desk.carryOut(.snapshot(2, bytes(1, 50_000)))
        let before = desk.disk.usedBytes
        desk.carryOut(.dropSnapshot(2))
        #expect(desk.disk.usedBytes == before - 50_000)
        desk.carryOut(.remove([.segment(1)]))
        #expect(desk.disk.usedBytes <= before - 150_000)
    }

    @Test("A sync that fails is answered with that, once, and leaves what was synced before")
    func failing() {
        for seed in 1...50 as ClosedRange<UInt64> {
            var desk = Desk(seed: seed)
            desk.carryOut(.segment(1, bytes(1, 100)), .commit(bytes(2, 100)))
            desk.disk.isFailing = true
            #expect(desk.carryOut(.commit(bytes(3, 5_000)), .commit(bytes(4, 10))).map(\.word) == ["failed"])
            desk.disk.mount()
            let found = desk.read(.segment(1)) ?? []
            #expect(Array(found.prefix(200)) == bytes(1, 100) + bytes(2, 100) && !found.contains(4))
            #expect(desk.carryOut(.segment(2, bytes(1, 10))).map(\.word) == ["committed"])
        }
    }

    @Test("So many bits flip as are asked for, anywhere; a lost file is gone, and a wiped disk is empty")
    func harm() throws {
        var places: Set<Int> = []
        for seed in 1...200 as ClosedRange<UInt64> {
            var desk = Desk(seed: seed)
            desk.carryOut(.segment(1, bytes(0, 300)), .snapshot(1, bytes(0, 300)), .finishSnapshot(1))
            let before = try desk.disk.size(of: .segment(1))
            let didFlip = desk.disk.flipBits(1)
            #expect(didFlip)
            let flipped = [DataFile.segment(1), .snapshot(1)].flatMap { desk.read($0) ?? [] }.enumerated()
                .filter { $0.element != 0 }
            #expect(flipped.count == 1 && flipped[0].element.nonzeroBitCount == 1)
            #expect(try desk.disk.size(of: .segment(1)) == before, "the length stays")
            places.insert(flipped[0].offset)
            let lost = desk.disk.loseFile()
            let gone = try #require(lost)
            #expect(try desk.disk.files() == [.segment(1), .snapshot(1)].filter { $0 != gone })
            desk.disk.wipe()
            #expect(try desk.disk.files().isEmpty)
            #expect(!desk.disk.flipBits(1) && desk.disk.loseFile() == nil)
        }
        #expect(places.count > 100)
    }

    @Test("A copy holds what a power loss at that moment would have left, and goes its own way")
    func images() {
        var desk = Desk(seed: 9)
        desk.carryOut(.segment(1, bytes(1, 100)))
        desk.begin(.commit(bytes(2, 100)))
        let image = desk.disk.image()
        desk.settle()
        desk.carryOut(.commit(bytes(3, 100)), .segment(2, bytes(4, 10)))
        desk.disk.kill()
        desk.disk.adopt(image)
        desk.disk.mount()
        let found = desk.read(.segment(1)) ?? []
        #expect(found.count { $0 == 1 } == 100 && !found.contains(3))
        #expect(desk.read(.segment(2)) == nil)
    }

    @Test("The same seed does the same")
    func decided() {
        func story(_ seed: UInt64) -> [UInt8] {
            var desk = Desk(seed: seed)
            desk.carryOut(.segment(1, bytes(1, 100)), .commit(bytes(2, 3_000)))
            desk.begin(.commit(bytes(3, 9_000)))
            desk.disk.losePower()
            _ = desk.disk.flipBits(3)
            return (desk.read(.segment(1)) ?? []) + [UInt8(desk.disk.syncs)]
        }
        #expect((1...20).allSatisfy { story($0) == story($0) })
        #expect(Set((1...20).map { story($0) }).count > 10)
    }
}
