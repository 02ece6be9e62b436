import Glibc
import Gossip
import NodeCore

@testable import Node

/// A disk in memory below the data directory, as bad as the rules allow: it fails where it is told to, takes less than it
/// is given, is interrupted, has a bounded size, and loses power.
///
/// What survives a loss of power: all that was synced. Of the rest, each sector of 512 bytes holds what it held at some
/// moment since it was synced last, each file has some length it had since, and each name was made, changed or removed,
/// or was not. A sync that fails loses some of what it should have kept, and the next one does not notice (Rebello et
/// al., "Can Applications Recover from fsync Failures?", ATC 2020).
final class FaultyDisk: FileCalls, @unchecked Sendable {
    static let sector = 512

    /// What happens at one call.
    enum Fault: Equatable {
        case fails(Int32)
        case losesPower
    }

    /// Bytes that a write, or a cut, put somewhere.
    private struct Change {
        let offset: Int
        let bytes: [UInt8]
    }

    private final class Inode {
        var cached: [UInt8] = []
        var durable: [UInt8] = []
        /// Since the last sync, in order.
        var changes: [Change] = []
        var lengths: [Int] = []
        var opened = 0
        var linked = 0
    }

    private enum NameChange {
        case made(String, Inode)
        case moved(String, String, Inode)
        case removed(String)
    }

    private var names: [String: Inode] = [:]
    private var durableNames: [String: Inode] = [:]
    private var nameChanges: [NameChange] = []
    private var open: [Int32: Inode] = [:]
    private var nextDescriptor: Int32 = 100
    private var dice: Dice
    private(set) var hasPower = true

    /// Calls made so far; `close` and `freeBytes` are not counted, as nothing depends on them.
    private(set) var calls = 0
    /// What happens at the call of this number, from 0.
    var faults: [Int: Fault] = [:]
    /// One call in so many takes less than it is given, or is interrupted; 0 for none.
    var nuisance: UInt64 = 0
    /// Bytes that fit on the disk.
    var capacity = Int.max
    /// Whether the file system can take room ahead.
    var canReserve = true

    init(seed: UInt64 = 1) { dice = Dice(seed: seed) }

    /// The names of all files.
    var fileNames: [String] { names.keys.sorted() }

    /// What a file holds, synced or not; nil if there is none.
    func bytes(of name: String) -> [UInt8]? { names[name]?.cached }

    /// Changes what a file holds, on the disk and in memory: bits that rot.
    func rot(_ name: String, _ change: (inout [UInt8]) -> Void) {
        guard let inode = names[name] else { return }
        change(&inode.cached)
        inode.durable = inode.cached
    }

    // MARK: - Calls

    func create(_ name: String) throws(SystemCode) -> Int32 {
        try enter()
        guard names[name] == nil else { throw SystemCode(number: EEXIST) }
        guard used < capacity else { throw SystemCode(number: ENOSPC) }
        let inode = Inode()
        inode.linked = 1
        inode.opened = 1
        names[name] = inode
        nameChanges.append(.made(name, inode))
        nextDescriptor += 1
        open[nextDescriptor] = inode
        return nextDescriptor
    }

    func write(_ file: Int32, _ bytes: RawSpan, at offset: Int) throws(SystemCode) -> Int {
        try enter()
        guard bytes.byteCount > 0, let inode = open[file] else { throw SystemCode(number: EBADF) }
        var count = bytes.byteCount
        if nuisance > 0, dice.below(nuisance) == 0 { count = Int(dice.below(UInt64(count))) + 1 }
        let growth = max(0, offset + count - inode.cached.count)
        let room = min(growth, max(0, capacity - used))
        count -= growth - room
        guard count > 0 else { throw SystemCode(number: ENOSPC) }
        let part = bytes.extracting(first: count).withUnsafeBytes { Array($0) }
        change(inode, at: offset, part)
        return count
    }

    func reserve(_ file: Int32, from offset: Int, count: Int) throws(SystemCode) {
        try enter()
        guard canReserve else { throw SystemCode(number: EOPNOTSUPP) }
        guard let inode = open[file] else { throw SystemCode(number: EBADF) }
        let growth = max(0, offset + count - inode.cached.count)
        let room = min(growth, max(0, capacity - used))
        // As much as there is: that is what some file systems leave behind.
        setLength(inode, inode.cached.count + room)
        if room < growth { throw SystemCode(number: ENOSPC) }
    }

    func truncate(_ file: Int32, to count: Int) throws(SystemCode) {
        try enter()
        guard let inode = open[file] else { throw SystemCode(number: EBADF) }
        setLength(inode, count)
    }

    func sync(_ file: Int32) throws(SystemCode) {
        guard let inode = open[file] else { throw SystemCode(number: EBADF) }
        do throws(SystemCode) {
            try enter()
        } catch {
            if hasPower, error.number != EINTR { forgetSome(inode) }
            throw error
        }
        settle(inode) { _, count in count }
        inode.durable = Self.resized(inode.durable, inode.cached.count)
        inode.lengths = []
    }

    func syncDirectory() throws(SystemCode) {
        try enter()
        durableNames = names
        nameChanges = []
    }

    func rename(_ old: String, to new: String) throws(SystemCode) {
        try enter()
        guard let inode = names.removeValue(forKey: old) else { throw SystemCode(number: ENOENT) }
        names[new]?.linked -= 1
        names[new] = inode
        nameChanges.append(.moved(old, new, inode))
    }

    func remove(_ name: String) throws(SystemCode) {
        try enter()
        guard let inode = names.removeValue(forKey: name) else { throw SystemCode(number: ENOENT) }
        inode.linked -= 1
        nameChanges.append(.removed(name))
    }

    func settle(_ name: String) throws(SystemCode) {
        guard let inode = names[name] else { throw SystemCode(number: ENOENT) }
        nextDescriptor += 1
        let file = nextDescriptor
        open[file] = inode
        defer { close(file) }
        try sync(file)
        inode.cached = inode.durable
    }

    func close(_ file: Int32) { open.removeValue(forKey: file)?.opened -= 1 }

    func freeBytes() throws(SystemCode) -> Int { max(0, capacity - used) }

    /// Counts a call, and lets happen what is to happen at it.
    private func enter() throws(SystemCode) {
        guard hasPower else { throw SystemCode(number: EIO) }
        defer { calls += 1 }
        switch faults[calls] {
        case .fails(let number): throw SystemCode(number: number)
        case .losesPower:
            hasPower = false
            throw SystemCode(number: EIO)
        case nil: if nuisance > 0, dice.below(nuisance) == 0 { throw SystemCode(number: EINTR) }
        }
    }

    // MARK: - Power

    /// The power goes and comes back: all that was open is closed, and of what was not synced something is left.
    func restart() {
        // Everything, nothing, or something of each: the extremes are as likely as what lies between.
        let mood = dice.below(4)
        func survives() -> Bool { mood == 0 ? false : mood == 1 ? true : dice.below(2) == 0 }
        for change in nameChanges where survives() {
            switch change {
            case .made(let name, let inode): durableNames[name] = inode
            case .moved(let old, let new, let inode):
                if durableNames[old] === inode { durableNames[old] = nil }
                durableNames[new] = inode
            case .removed(let name): durableNames[name] = nil
            }
        }
        nameChanges = []
        for inode in durableNames.values {
            let length =
                inode.lengths.isEmpty || !survives()
                ? inode.durable.count : inode.lengths[Int(dice.below(UInt64(inode.lengths.count)))]
            settle(inode) { _, count in mood == 0 ? 0 : mood == 1 ? count : Int(dice.below(UInt64(count + 1))) }
            inode.durable = Self.resized(inode.durable, length)
            inode.lengths = []
            inode.cached = inode.durable
            inode.opened = 0
            inode.linked = 1
        }
        names = durableNames
        open = [:]
        faults = [:]
        hasPower = true
    }

    /// A sync that failed: some sectors are on the disk, and the system takes all of them for written.
    private func forgetSome(_ inode: Inode) {
        let length = inode.durable.count
        settle(inode) { _, count in Int(dice.below(UInt64(count + 1))) }
        inode.durable = Self.resized(inode.durable, dice.below(2) == 0 ? length : inode.cached.count)
    }

    /// Brings each sector on the disk to what it was after some of its changes: `choose` gets the sector and their number.
    private func settle(_ inode: Inode, _ choose: (_ sector: Int, _ count: Int) -> Int) {
        var counts: [Int: Int] = [:]
        for change in inode.changes { for sector in Self.sectors(change) { counts[sector, default: 0] += 1 } }
        var left: [Int: Int] = [:]
        for sector in counts.keys.sorted() { left[sector] = choose(sector, counts[sector]!) }
        let longest = inode.changes.map { $0.offset + $0.bytes.count }.max() ?? 0
        if inode.durable.count < longest { inode.durable = Self.resized(inode.durable, longest) }
        for change in inode.changes {
            if change.bytes.count > 0, Self.sectors(change).allSatisfy({ (left[$0] ?? 0) > 0 }) {
                for sector in Self.sectors(change) { left[sector]! -= 1 }
                inode.durable.replaceSubrange(
                    change.offset..<(change.offset + change.bytes.count), with: change.bytes)
                continue
            }
            for sector in Self.sectors(change) where left[sector]! > 0 {
                left[sector]! -= 1
                let from = max(change.offset, sector * Self.sector)
                let to = min(change.offset + change.bytes.count, (sector + 1) * Self.sector)
                let part = change.bytes[(from - change.offset)..<(to - change.offset)]
                inode.durable.replaceSubrange(from..<to, with: part)
            }
        }
        inode.changes = []
    }

    private static func sectors(_ change: Change) -> ClosedRange<Int> {
        change.offset / sector...(change.offset + change.bytes.count - 1) / sector
    }

    // MARK: - Bytes

    private var used: Int {
        var seen: Set<ObjectIdentifier> = []
        var sum = 0
        for inode in Array(names.values) + Array(open.values) where seen.insert(ObjectIdentifier(inode)).inserted {
            sum += inode.cached.count
        }
        return sum
    }

    private func change(_ inode: Inode, at offset: Int, _ bytes: [UInt8]) {
        if inode.cached.count < offset + bytes.count { setLength(inode, offset + bytes.count) }
        inode.cached.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
        inode.changes.append(Change(offset: offset, bytes: bytes))
    }

    private func setLength(_ inode: Inode, _ length: Int) {
        let before = inode.cached.count
        guard length != before else { return }
        if length < before {
            // What is cut off reads as zeros should the file grow again.
            let zeros = [UInt8](repeating: 0, count: before - length)
            inode.changes.append(Change(offset: length, bytes: zeros))
        }
        inode.cached = Self.resized(inode.cached, length)
        inode.lengths.append(length)
    }

    private static func resized(_ bytes: [UInt8], _ count: Int) -> [UInt8] {
        bytes.count >= count ? Array(bytes[..<count]) : bytes + [UInt8](repeating: 0, count: count - bytes.count)
    }
}

/// The files of a faulty disk as a node finds them at its start.
struct FaultyDirectory: DataDirectory {
    let disk: FaultyDisk
    /// What was kept aside.
    private(set) var quarantined: [DataFile] = []

    init(_ disk: FaultyDisk) { self.disk = disk }

    func files() -> [DataFile] { disk.fileNames.compactMap { DataFile(name: $0) }.sorted() }

    func size(of file: DataFile) throws(StoreError) -> UInt64 { UInt64(try bytes(of: file).count) }

    func read(_ file: DataFile, from offset: UInt64, count: Int) throws(StoreError) -> [UInt8] {
        let bytes = try bytes(of: file)
        guard offset < bytes.count else { return [] }
        return Array(bytes[Int(offset)..<min(bytes.count, Int(offset) + count)])
    }

    mutating func quarantine(_ file: DataFile) { if !quarantined.contains(file) { quarantined.append(file) } }

    private func bytes(of file: DataFile) throws(StoreError) -> [UInt8] {
        guard let bytes = disk.bytes(of: file.name) else { throw StoreError(.unreadable, "\(file) is missing") }
        return bytes
    }
}
