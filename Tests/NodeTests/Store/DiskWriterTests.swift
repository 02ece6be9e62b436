import Glibc
import Gossip
import NodeCore
import Testing

@testable import Node

/// A writer on a faulty disk, and what it was given and has answered.
private struct Bench {
    let disk: FaultyDisk
    var writer: DiskWriter<FaultyDisk>
    var dice: Dice
    /// What was answered with `committed`, by segment.
    var committed: [[UInt8]] = []
    /// The bytes of the commit that was not answered with `committed`.
    var unanswered: [UInt8] = []
    var number: UInt64 = 0

    static let room = DiskWriter<FaultyDisk>.Room(step: 8_192)

    init(seed: UInt64 = 1) {
        disk = FaultyDisk(seed: seed)
        writer = DiskWriter(disk, directory: "data", room: Self.room, clock: { 0 })
        dice = Dice(seed: seed)
    }

    /// So many bytes, none of them zero.
    mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let eight = dice.next() | 0x0101_0101_0101_0101
            withUnsafeBytes(of: eight) { bytes += $0 }
        }
        return Array(bytes[..<count])
    }

    /// Begins a segment.
    mutating func segment(_ count: Int = 40) -> DiskResult? {
        let bytes = bytes(count)
        let result = writer.perform(.segment(number + 1, bytes))
        if case .committed? = result {
            number += 1
            committed.append(bytes)
            unanswered = []
        } else {
            unanswered = bytes
        }
        return result
    }

    /// Commits some bytes.
    mutating func commit(_ count: Int) -> DiskResult? { commit(bytes(count)) }

    mutating func commit(_ bytes: [UInt8]) -> DiskResult? {
        let result = writer.perform(.commit(bytes))
        if case .committed? = result {
            committed[committed.count - 1] += bytes
            unanswered = []
        } else {
            unanswered = bytes
        }
        return result
    }

    /// What the segment of this number holds, without the zeros at its end.
    func held(_ number: UInt64) -> [UInt8]? {
        guard var bytes = disk.bytes(of: DataFile.segment(number).name) else { return nil }
        while bytes.last == 0 { bytes.removeLast() }
        return bytes
    }

    /// Every answered byte is there, and behind the last of them only zeros.
    func holdsExactlyWhatWasCommitted() -> Bool {
        committed.indices.allSatisfy { held(UInt64($0) + 1) == committed[$0] } && held(number + 1) == nil
    }
}

private func isCommitted(_ result: DiskResult?, hasRoom: Bool? = nil) -> Bool {
    if case .committed(let room)? = result { hasRoom == nil || room == hasRoom } else { false }
}
private func isFull(_ result: DiskResult?) -> Bool { if case .full? = result { true } else { false } }
private func isRoom(_ result: DiskResult?, _ expected: Bool) -> Bool {
    if case .room(let has)? = result { has == expected } else { false }
}
private func reason(_ result: DiskResult?) -> String? { if case .failed(let text)? = result { text } else { nil } }
private func isSaved(_ result: DiskResult?, _ number: UInt64) -> Bool {
    if case .snapshotSaved(number)? = result { true } else { false }
}
private func lost(_ result: DiskResult?) -> String? {
    if case .snapshotLost(_, let text)? = result { text } else { nil }
}

@Suite("The disk of a durable node: what is answered is on it")
struct DiskWriterTests {
    @Test("Commits lie back to back in the newest segment, one sync each, with room ahead that a sealed one gives back")
    func plain() throws {
        var bench = Bench()
        #expect(isCommitted(bench.segment(), hasRoom: true))
        #expect(bench.writer.health.syncs.count == 2, "the file and its name")
        for size in [1, 700, 3_000, 9_000] { #expect(isCommitted(bench.commit(size), hasRoom: true)) }
        #expect(bench.writer.health.syncs.count == 6)
        #expect(bench.writer.health.bytesWritten == 12_741)
        #expect(bench.holdsExactlyWhatWasCommitted())
        let first = try #require(bench.disk.bytes(of: "log-0000000000000001"))
        #expect(first.count >= 12_741 + 2_048 && bench.writer.health.reservedBytes == first.count - 12_741)
        #expect(isCommitted(bench.segment()) && isCommitted(bench.commit(10)))
        #expect(bench.disk.bytes(of: "log-0000000000000001")?.count == 12_741, "sealed")
        #expect(bench.holdsExactlyWhatWasCommitted())
        bench.writer.close()
        #expect(bench.disk.bytes(of: "log-0000000000000002")?.count == 50)
    }

    @Test("A disk that fills up says so while what is under way still fits; then commits are refused without a trace")
    func full() {
        var bench = Bench()
        bench.disk.capacity = 20_000
        #expect(isCommitted(bench.segment(), hasRoom: true))
        var warnedAt: Int?
        var answers = 0
        while true {
            let result = bench.commit(500)
            if isFull(result) { break }
            answers += 1
            guard case .committed(let hasRoom)? = result else { break }
            if !hasRoom, warnedAt == nil { warnedAt = answers }
            if warnedAt != nil { #expect(!hasRoom, "no room comes back by itself") }
        }
        #expect(answers == (20_000 - 40) / 500, "to the last byte")
        #expect(warnedAt.map { answers - $0 >= 2_048 / 500 - 1 } == true, "four more of them had room")
        #expect(bench.holdsExactlyWhatWasCommitted())
        #expect(isRoom(bench.writer.perform(.findRoom), false) && isFull(bench.commit(500)))
        #expect(bench.writer.health.refusals == 2)

        bench.disk.capacity = 21_000
        #expect(isRoom(bench.writer.perform(.findRoom), false), "a little is not enough to begin anew")
        bench.disk.capacity = 40_000
        #expect(isRoom(bench.writer.perform(.findRoom), true))
        #expect(isCommitted(bench.commit(bench.unanswered), hasRoom: true))
        #expect(bench.holdsExactlyWhatWasCommitted())
    }

    @Test("What is reserved belongs to the log: others that fill the disk do not take it")
    func othersFillTheDisk() {
        var bench = Bench()
        #expect(isCommitted(bench.segment()))
        let reserved = bench.writer.health.reservedBytes
        bench.disk.capacity = 0
        var used = 0
        while used + 500 <= reserved {
            #expect(isCommitted(bench.commit(500)))
            used += 500
        }
        #expect(isFull(bench.commit(500)))
        #expect(bench.holdsExactlyWhatWasCommitted())
    }

    @Test("A new segment may have the room of the old one; without any there is no such file, and no room is found")
    func fullSegment() {
        var bench = Bench()
        bench.disk.capacity = 0
        #expect(isFull(bench.segment()) && isRoom(bench.writer.perform(.findRoom), false))
        #expect(bench.disk.fileNames.isEmpty)
        bench.disk.capacity = 8_300
        #expect(isRoom(bench.writer.perform(.findRoom), true) && bench.disk.fileNames.isEmpty)
        #expect(isCommitted(bench.segment(), hasRoom: true) && isCommitted(bench.commit(100)))
        bench.disk.capacity = bench.disk.bytes(of: "log-0000000000000001")!.count
        #expect(isCommitted(bench.segment(), hasRoom: true), "in what the first had ahead")
        #expect(bench.holdsExactlyWhatWasCommitted())
        bench.disk.capacity = 180
        #expect(isFull(bench.segment(9_000)))
        #expect(bench.holdsExactlyWhatWasCommitted() && bench.disk.fileNames.count == 2)
        bench.disk.capacity = 30_000
        #expect(isCommitted(bench.commit(700)), "the newest segment is still the one before")
        #expect(isCommitted(bench.segment(9_000)) && bench.holdsExactlyWhatWasCommitted())
    }

    @Test("Where room cannot be reserved, the free bytes of the file system are looked at")
    func noReserve() {
        var bench = Bench()
        bench.disk.canReserve = false
        bench.disk.capacity = 20_000
        #expect(isCommitted(bench.segment(), hasRoom: true))
        var answers: [Bool] = []
        while case .committed(let hasRoom)? = bench.commit(500) { answers.append(hasRoom) }
        #expect(answers.count == (20_000 - 40) / 500)
        #expect(answers.first == true && answers.last == false)
        #expect(isRoom(bench.writer.perform(.findRoom), false))
        bench.disk.capacity = 40_000
        #expect(isRoom(bench.writer.perform(.findRoom), true) && isCommitted(bench.commit(bench.unanswered)))
        #expect(bench.holdsExactlyWhatWasCommitted())
    }

    /// A day in a writer's life: what finds no room is asked for again. Stops at an answer that `proceed` does not like.
    private static func day(_ bench: inout Bench, _ proceed: (Bench, DiskResult?) -> Bool) {
        for step in [nil, 300, 2_000, 5_000, 1, nil, 600, 4_000] as [Int?] {
            var result: DiskResult?
            repeat {
                result = step.map { bench.commit($0) } ?? bench.segment()
                guard proceed(bench, result) else { return }
            } while isFull(result)
        }
    }

    private static func callsOfADay() -> Int {
        var bench = Bench()
        day(&bench) { isCommitted($1) }
        return bench.disk.calls
    }

    @Test("Full at whichever call: refused without a trace, and asked again it is done")
    func fullAnywhere() {
        for call in 0..<Self.callsOfADay() {
            for code in [ENOSPC, EDQUOT] {
                var bench = Bench(seed: UInt64(call))
                bench.disk.faults[call] = .fails(code)
                Self.day(&bench) { bench, result in
                    guard isFull(result) else { return isCommitted(result) }
                    #expect(bench.holdsExactlyWhatWasCommitted(), "call \(call)")
                    return true
                }
                #expect(!bench.writer.hasFailed, "call \(call)")
            }
        }
    }

    @Test("After a sync that had no room, the same commit asked again is on the disk for good")
    func fullAtSync() {
        for call in 0..<Self.callsOfADay() {
            for seed in 0..<20 as Range<UInt64> {
                var bench = Bench(seed: seed)
                bench.disk.faults[call] = .fails(ENOSPC)
                var isDone = true
                _ = bench.segment(40)
                if bench.number == 0 { isDone = isCommitted(bench.segment(40)) }
                for size in [300, 2_000, 5_000] where !isCommitted(bench.commit(size)) {
                    isDone = isDone && isCommitted(bench.commit(bench.unanswered))
                }
                #expect(isDone, "call \(call)")
                bench.disk.restart()
                #expect(bench.holdsExactlyWhatWasCommitted(), "call \(call), seed \(seed)")
            }
        }
    }

    @Test("A disk that fails at whichever call ends it: the reason names call, file and cause, and nothing follows")
    func failsAnywhere() throws {
        var reasons: Set<String> = []
        for call in 0..<Self.callsOfADay() {
            var bench = Bench()
            bench.disk.faults[call] = .fails(EIO)
            var failure: String?
            Self.day(&bench) { _, result in
                failure = reason(result)
                return failure == nil
            }
            guard let failure else {
                // Only what a sealed segment keeps reserved may stay as it is.
                #expect(bench.holdsExactlyWhatWasCommitted())
                continue
            }
            reasons.insert(failure)
            #expect(bench.writer.hasFailed && bench.commit(5) == nil && bench.writer.perform(.findRoom) == nil)
        }
        for call in ["open", "posix_fallocate", "write", "fdatasync"] {
            #expect(reasons.contains("\(call) of data/log-0000000000000001: input/output error"))
        }
        #expect(reasons.contains("fsync of data/.: input/output error"))
    }

    @Test("Interrupted calls and short writes change nothing")
    func nuisance() {
        for seed in 0..<200 as Range<UInt64> {
            var bench = Bench(seed: seed)
            bench.disk.nuisance = 3
            Self.day(&bench) { isCommitted($1) }
            #expect(bench.committed.count == 2 && bench.holdsExactlyWhatWasCommitted())
        }
    }

    @Test("Power lost at whichever call: all that was answered is there, and behind it at most parts of what was not")
    func powerLoss() {
        for call in 0..<Self.callsOfADay() {
            for seed in 0..<20 as Range<UInt64> {
                var bench = Bench(seed: seed)
                bench.disk.faults[call] = .losesPower
                Self.day(&bench) { isCommitted($1) }
                bench.disk.restart()
                for (index, bytes) in bench.committed.enumerated() {
                    let held = bench.held(UInt64(index) + 1) ?? []
                    #expect(held.starts(with: bytes), "call \(call), seed \(seed), segment \(index + 1)")
                    let isLast = index == bench.committed.count - 1
                    let rest = held.dropFirst(bytes.count)
                    // Each sector of what was under way is there or is zeros.
                    let isTorn = zip(rest, bench.unanswered).allSatisfy { $0 == 0 || $0 == $1 }
                    #expect(rest.isEmpty || (isLast && rest.count <= bench.unanswered.count && isTorn))
                }
            }
        }
    }

    // MARK: - Snapshots

    private static let snapshot = DataFile.snapshot(2).name

    /// Writes a snapshot in three parts.
    private static func save(_ bench: inout Bench) -> (DiskResult?, [UInt8]) {
        let parts = [bench.bytes(700), bench.bytes(2_000), bench.bytes(3)]
        for part in parts { #expect(bench.writer.perform(.snapshot(2, part)) == nil) }
        return (bench.writer.perform(.finishSnapshot(2)), Array(parts.joined()))
    }

    @Test("A snapshot comes under its name whole; one that is dropped, or begun anew, leaves nothing")
    func snapshots() {
        var bench = Bench()
        _ = bench.writer.perform(.snapshot(1, bench.bytes(90)))
        #expect(bench.disk.fileNames == ["state-0000000000000001.tmp"])
        _ = bench.writer.perform(.dropSnapshot(9))
        #expect(bench.disk.fileNames.count == 1, "another one")
        _ = bench.writer.perform(.dropSnapshot(1))
        #expect(bench.disk.fileNames.isEmpty)
        _ = bench.writer.perform(.snapshot(1, bench.bytes(90)))
        let (result, bytes) = Self.save(&bench)
        #expect(isSaved(result, 2) && bench.disk.bytes(of: Self.snapshot) == bytes)
        #expect(bench.disk.fileNames == [Self.snapshot] && bench.writer.health.snapshots == 1)
        #expect(lost(bench.writer.perform(.finishSnapshot(3))) == "nothing of it was written")
        #expect(bench.writer.perform(.remove([.snapshot(2), .segment(7)])) == nil)
        #expect(bench.disk.fileNames.isEmpty && bench.writer.health.unremoved == 0)
    }

    @Test("A snapshot that meets a fault at whichever call is lost with a reason, leaves nothing, and the log goes on")
    func lostSnapshots() {
        var trial = Bench()
        _ = trial.segment()
        let before = trial.disk.calls
        _ = Self.save(&trial)
        for call in before..<trial.disk.calls {
            for code in [ENOSPC, EIO] {
                var bench = Bench()
                _ = bench.segment()
                bench.disk.faults[call] = .fails(code)
                let (result, bytes) = Self.save(&bench)
                if let lost = lost(result) {
                    #expect(lost.contains("data/") && lost.hasSuffix(systemMessage(code)), "\(lost)")
                    #expect(bench.disk.fileNames.count == 1 && bench.writer.health.snapshotsLost == 1)
                } else {
                    // The call that removes an older draft, where there is none.
                    #expect(isSaved(result, 2) && bench.disk.bytes(of: Self.snapshot) == bytes)
                }
                #expect(isCommitted(bench.commit(100)))
            }
        }
    }

    @Test("Power lost while a snapshot is written: under its name it is whole or not there; once saved it stays")
    func snapshotPowerLoss() {
        var trial = Bench()
        _ = trial.segment()
        let before = trial.disk.calls
        _ = Self.save(&trial)
        for call in before...trial.disk.calls {
            for seed in 0..<100 as Range<UInt64> {
                var bench = Bench(seed: seed)
                _ = bench.segment()
                bench.disk.faults[call] = .losesPower
                let (result, bytes) = Self.save(&bench)
                bench.disk.restart()
                let held = bench.disk.bytes(of: Self.snapshot)
                #expect(held == nil || held == bytes, "call \(call), seed \(seed)")
                #expect(held != nil || !isSaved(result, 2), "call \(call), seed \(seed)")
                #expect(bench.held(1) == bench.committed[0])
            }
        }
    }
}
