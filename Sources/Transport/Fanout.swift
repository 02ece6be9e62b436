import Glibc

/// One channel: a ring of frames and the connections that get all of it.
///
/// The heart of the fan-out. Members lie in one plain array of 32-byte values (no reference is counted and no
/// exclusivity is checked per delivery): safe, because the memory is owned here alone, `count` bounds every access, and
/// nothing in the loop calls out.
final class Fanout {
    struct Member {
        var reader: FrameReader
        let descriptor: Int32
        /// The slot of the connection.
        let slot: Int32
        /// Not to be served by `flush`: its socket is full, or bytes of its own go first.
        var isHeld: Bool
    }

    /// Slots of members that somebody has to look after, after the loop.
    struct Trouble {
        var full: [Int32] = []
        var failed: [Int32] = []
        var slow: [Int32] = []
        /// Bytes and deliveries handed to sockets.
        var bytes = 0
        var sends = 0
        var isEmpty: Bool { full.isEmpty && failed.isEmpty && slow.isEmpty }
    }

    private(set) var ring: FrameRing
    private(set) var count = 0
    private var members: UnsafeMutablePointer<Member>
    private var capacity = 16
    /// What every member that is not held has got.
    private var flushed: UInt64 = 0
    /// How far a member may lag, in bytes.
    private let budget: Int

    /// For members of an event stream that speak HTTP/1.0, whose frames look otherwise: they form a channel of their own
    /// beside this one.
    var bare: Fanout?
    /// With those of `bare`.
    var totalCount: Int { count + (bare?.count ?? 0) }

    init(_ framing: Framing, budget: Int) {
        self.budget = budget
        ring = FrameRing(framing)
        members = .allocate(capacity: capacity)
    }

    deinit { members.deallocate() }

    /// In the server's list of channels to flush.
    var isDirty = false

    /// Adds a member that gets what comes from now on; returns its index.
    func add(_ descriptor: Int32, slot: Int32, isHeld: Bool) -> Int32 {
        if count == capacity {
            let larger = UnsafeMutablePointer<Member>.allocate(capacity: capacity * 2)
            larger.moveInitialize(from: members, count: count)
            members.deallocate()
            members = larger
            capacity *= 2
        }
        (members + count).initialize(
            to: Member(reader: FrameReader(at: ring), descriptor: descriptor, slot: slot, isHeld: isHeld))
        count += 1
        return Int32(count - 1)
    }

    /// Removes a member; the last one takes its index, and its slot is returned if it is another.
    func remove(_ index: Int32) -> Int32? {
        let at = checked(index)
        count -= 1
        guard at < count else { return nil }
        members[at] = members[count]
        return members[at].slot
    }

    private func checked(_ index: Int32) -> Int {
        precondition(index >= 0 && Int(index) < count, "a member's index is out of range")
        return Int(index)
    }

    func slot(_ index: Int) -> Int32 { members[checked(Int32(index))].slot }
    func isHeld(_ index: Int32) -> Bool { members[checked(index)].isHeld }
    func setHeld(_ index: Int32, _ isHeld: Bool) { members[checked(index)].isHeld = isHeld }
    func owes(_ index: Int32) -> Bool { members[checked(index)].reader.position < ring.head }

    /// Moves what is left of a frame that was sent in part to `buffer`, so that other bytes may follow.
    func takeFrameRest(_ index: Int32, into buffer: inout ByteBuffer) {
        let at = checked(index)
        guard members[at].reader.isInsideFrame else { return }
        take(members[at].reader.position, members[at].reader.frameEnd, into: &buffer)
        members[at].reader.skipFrame()
    }

    /// Moves all that a member is still owed to `buffer`.
    func takeRest(_ index: Int32, into buffer: inout ByteBuffer) {
        let at = checked(index)
        take(members[at].reader.position, ring.head, into: &buffer)
        members[at].reader.sentAll(to: ring.head)
    }

    private func take(_ start: UInt64, _ end: UInt64, into buffer: inout ByteBuffer) {
        let (first, second) = ring.pieces(start, to: end)
        buffer.append(first)
        buffer.append(second)
    }

    /// Whether a message fits without taking more memory.
    func hasRoom(forMessage length: Int) -> Bool { ring.hasRoom(forMessage: length) }

    /// Frames a message for all members.
    func append(_ payload: borrowing RawSpan, mark: UInt64) { ring.append(payload, mark: mark) }

    /// The mark of the last frame that a member got, if it came behind `start`. One that was sent in part counts: its
    /// rest still goes.
    func mark(_ index: Int32, behind start: UInt64) -> UInt64? {
        let boundary = members[checked(index)].reader.boundary
        return boundary > start ? ring.mark(endingAt: boundary) : nil
    }

    /// Reports the members that would lag more than the budget if a message of this length came; the caller removes
    /// them and then calls `release`.
    func findSlow(beforeMessage length: Int, into trouble: inout Trouble) {
        let limit = max(0, budget - ring.framing.size(ofMessage: length))
        guard ring.held > limit else { return }
        for at in 0..<count where members[at].isHeld && Int(ring.head - members[at].reader.position) > limit {
            trouble.slow.append(members[at].slot)
        }
    }

    /// Lets go of what nobody is owed any more.
    func release() {
        var least = ring.head
        for at in 0..<count { least = min(least, members[at].reader.position) }
        ring.release(upTo: least)
    }

    /// Gives every member that can take it all it is owed: one system call each.
    func flush(into trouble: inout Trouble) {
        let head = ring.head
        var least = head
        var sends = 0
        var bytes = 0
        let members = members
        for at in 0..<count {
            let member = members + at
            let position = member.pointee.reader.position
            if position == head { continue }
            if member.pointee.isHeld {
                if Int(head - position) > budget { trouble.slow.append(member.pointee.slot) }
            } else {
                let (first, second) = ring.pieces(position, to: head)
                let sent = Socket.send(member.pointee.descriptor, first, second)
                sends += 1
                bytes += sent ?? 0
                if let sent, sent == Int(head - position) {
                    member.pointee.reader.sentAll(to: head)
                    continue
                }
                member.pointee.isHeld = true
                if let sent {
                    member.pointee.reader.sent(sent, of: ring)
                    trouble.full.append(member.pointee.slot)
                } else {
                    trouble.failed.append(member.pointee.slot)
                }
            }
            least = min(least, member.pointee.reader.position)
        }
        trouble.sends += sends
        trouble.bytes += bytes
        flushed = head
        ring.release(upTo: least)
    }

    /// Gives one member what it is owed, as `flush` gives it to all; whether all of it went, nil if the connection is
    /// gone.
    func flush(_ index: Int32, bytes: inout Int) -> Bool? {
        let at = checked(index)
        let position = members[at].reader.position
        if position == ring.head { return true }
        let (first, second) = ring.pieces(position, to: ring.head)
        guard let sent = Socket.send(members[at].descriptor, first, second) else { return nil }
        bytes += sent
        if sent == first.count + second.count {
            members[at].reader.sentAll(to: ring.head)
            return true
        }
        members[at].reader.sent(sent, of: ring)
        return false
    }

    /// Gives memory back that only slow members needed.
    func tidy() {
        release()
        ring.shrink()
    }
}
