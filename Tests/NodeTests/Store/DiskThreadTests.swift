import Glibc
import NodeCore
import Synchronization
import Testing
import Transport

@testable import Node

@Suite("The disk's thread on a real disk")
struct DiskThreadTests {
    @Test("Jobs are done in order, each answer wakes the loop, and the end leaves just what was written")
    func real() throws {
        let folder = try Folder()
        let directory = try DirectoryPath.open(folder.path)
        defer { close(directory) }
        let loop = try EventLoop()
        let waker = loop.waker
        let writer = DiskWriter(
            SystemFiles(directory: directory), directory: folder.path, room: .init(step: 1 << 16),
            clock: MonotonicClock.now)
        let thread = DiskThread(writer, clock: MonotonicClock.now, wake: { waker.wake() })
        var answers: [String] = []
        var woken = 0
        loop.onWake = {
            woken += 1
            for result in thread.takeResults() {
                switch result {
                case .committed(let hasRoom): answers.append("committed \(hasRoom)")
                case .snapshotSaved(let number): answers.append("saved \(number)")
                case .room(let isThere): answers.append("room \(isThere)")
                default: Issue.record("\(result)")
                }
            }
            if answers.count == 203 { loop.stop() }
        }
        var expected: [UInt8] = [1, 2, 3]
        thread.add(.segment(1, [1, 2, 3]))
        for number in 0..<200 as Range<UInt8> {
            let bytes = [UInt8](repeating: number &+ 1, count: Int(number) + 1)
            expected += bytes
            thread.add(.commit(bytes))
        }
        thread.add(.snapshot(1, [7]))
        thread.add(.finishSnapshot(1))
        thread.add(.remove([.snapshot(9)]))
        thread.add(.findRoom)
        loop.run()
        #expect(answers == [String](repeating: "committed true", count: 201) + ["saved 1", "room true"])
        #expect(woken > 0 && woken <= 203)
        let health = thread.health()
        #expect(health.syncs.count == 204 && health.bytesWritten == expected.count + 1 && health.snapshots == 1)
        #expect(health.waitingJobs == 0 && health.busyMicroseconds == 0 && health.unremoved == 0)
        #expect(health.syncs.sum > 0 && health.reservedBytes > 0)
        #expect(folder.read("log-0000000000000001")?.starts(with: expected) == true)
        thread.close()
        #expect(folder.read("log-0000000000000001") == expected && folder.read("state-0000000000000001") == [7])
    }
}
