import CRDT
import Gossip

/// Snapshots on the disk: the state in parts, as it goes to a peer, with how far the logs reached when the first part was
/// made. Entries that come meanwhile are in the segments behind it; to apply them to a state that has them already
/// changes nothing.
///
/// | record | |
/// |---|---|
/// | head | as in a segment |
/// | adopted | `Heads`, and for each of the heads the running hash there |
/// | members | rumors |
/// | part | a part of the state, again and again |
/// | snapshotEnd | how many records came before |
extension NodeCore {
    /// A snapshot on its way to the disk.
    struct SavingState: Sendable {
        let number: UInt64
        var walk: StateWalk
        /// The position of the oldest entry held when it began.
        let start: Int
        /// Bytes given to the disk so far, which are the offset of the next ones.
        var bytes = 0
        var records = 0
        /// Parts given to the disk since it was last heard of.
        var unheard = 0
        /// When the next part may go; nil while the disk is waited for.
        var nextPart: Instant?
        var isFinished = false

        /// Appends a record to bytes that go to the disk next.
        mutating func append(_ kind: Record.Kind, _ body: [UInt8], into out: inout [UInt8]) {
            let start = Record.begin(kind, into: &out)
            out += body
            Record.end(start, of: number, base: UInt64(bytes), into: &out)
            records += 1
        }
    }

    /// So many parts go to the disk before it is waited for.
    private static let partsInARow = 16

    mutating func beginSaving(now: Instant, into effects: inout Effects) {
        guard let number = journal?.number else { return }
        journal?.beganSnapshot()
        saving = SavingState(
            number: number, walk: StateWalk(cluster.log), start: cluster.log.start, nextPart: now)
        var out: [UInt8] = []
        Record.appendPreamble(.snapshot, into: &out)
        let head = SegmentHead(
            settings, cluster, follows: journal?.commits ?? 0, resets: journal?.resets ?? 0,
            isLossAccepted: isLossAccepted)
        var body: [UInt8] = []
        head.encode(into: &body)
        saving?.append(.head, body, into: &out)
        let heads = cluster.log.heads
        body.removeAll()
        cluster.log.encodeHeads(of: heads, collected: cluster.replication.collected, into: &body)
        for entry in heads.entries {
            guard let slot = cluster.log.knownSlot(of: entry.replica) else { continue }
            body.append(littleEndian: cluster.log.hash(of: slot))
        }
        saving?.append(.adopted, body, into: &out)
        body.removeAll()
        cluster.membership.encodeRemembered(into: &body)
        saving?.append(.members, body, into: &out)
        hand(out, into: &effects)
    }

    private mutating func hand(_ bytes: [UInt8], into effects: inout Effects) {
        guard let number = saving?.number else { return }
        saving?.bytes += bytes.count
        saving?.unheard += 1
        effects.list.append(.disk(.snapshot(number, bytes)))
    }

    /// Gives the disk the next parts.
    mutating func advanceSaving(now: Instant, into effects: inout Effects) {
        guard let next = saving?.nextPart, next <= now else { return }
        guard !isIncomplete, !isLeaving else { return dropSaving(into: &effects) }
        var walk = saving!.walk
        let part = nextPart(&walk)
        saving?.walk = walk
        var out: [UInt8] = []
        guard let (part, chunk) = part else {
            var count: [UInt8] = []
            count.append(varint: UInt64(saving?.records ?? 0))
            saving?.append(.snapshotEnd, count, into: &out)
            hand(out, into: &effects)
            saving?.nextPart = nil
            saving?.isFinished = true
            return effects.list.append(.disk(.finishSnapshot(saving?.number ?? 0)))
        }
        saving?.append(.part, [part.rawValue] + chunk, into: &out)
        hand(out, into: &effects)
        let mustWait = (saving?.unheard ?? 0) >= Self.partsInARow
        saving?.nextPart = mustWait ? nil : now.advanced(milliseconds: 1)
        if mustWait { effects.list.append(.disk(.findRoom)) }
    }

    /// The disk is done with what it was given.
    mutating func continueSaving(now: Instant) {
        guard saving?.isFinished == false, saving?.nextPart == nil else { return }
        saving?.unheard = 0
        saving?.nextPart = now
    }

    mutating func dropSaving(into effects: inout Effects) {
        guard let number = saving?.number else { return }
        saving = nil
        effects.list.append(.disk(.dropSnapshot(number)))
    }

    mutating func saved(_ number: UInt64, into effects: inout Effects) {
        guard let done = saving, done.number == number else { return }
        saving = nil
        journal?.savedSnapshot(
            Journal.Saved(number: number, start: done.start, bytes: done.bytes), into: &effects.list)
    }
}
