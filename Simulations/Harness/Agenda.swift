internal import Gossip
internal import NodeCore

/// Everything that can be due in the virtual world. Times are microseconds since the world began.
enum Happening {
    /// A node asked to be woken; void when the node has asked for another moment since.
    case wake(node: Int, life: Int)
    /// A stopped process goes on.
    case unpause(node: Int, life: Int)
    /// A machine that went down starts its node again.
    case boot(node: Int, life: Int)
    /// The node at this machine has been given all inputs of a turn.
    case turnEnds(node: Int, life: Int)
    /// The disk of this machine is done with the job that it began as its `turn`th.
    case diskIsDone(node: Int, life: Int, turn: Int)
    /// The disk of this machine has room again, unless it got full again since.
    case roomReturns(node: Int, filling: Int)
    /// The machine is killed and starts again after so long with the copy of its disk that was made as the `image`th.
    case setBack(node: Int, image: Int, downMs: UInt64, isTold: Bool)
    /// A while of bad weather is over, unless another began since.
    case subside(burst: Int)
    /// The link between two machines is as fast as before.
    case quicken(Int, Int)
    /// A datagram reached the machine of `to`.
    case datagram(from: Int, to: Int, bytes: [UInt8])
    /// The first packet of a dial reached the machine of `to`.
    case knock(from: Int, life: Int, to: Int, began: UInt64)
    /// One end learns that the connection stands.
    case opened(wire: Int, side: Int)
    /// A dial came to nothing.
    case refused(node: Int, life: Int, address: Address)
    /// The next frame written at `side` reached the other machine.
    case arrival(wire: Int, side: Int)
    /// What was written at `side` has left the process.
    case drained(wire: Int, side: Int)
    /// The kernel at `side` tries again after a cut.
    case retransmit(wire: Int, side: Int)
    /// The kernel at `side` has waited its whole TCP_USER_TIMEOUT.
    case patience(wire: Int, side: Int, token: Int)
    /// The end at `side` learns that the other end is gone.
    case reset(wire: Int, side: Int, tries: Int)
    /// An agent takes its next step.
    case agent(Int)
    /// An agent's request reached a node.
    case call(Int)
    /// The node's answer reached the agent.
    case answer(call: Int, Answer)
    /// The agent's connection broke before the answer came.
    case broken(call: Int)
    /// The agent has waited long enough.
    case impatience(call: Int)
    /// A subscriber has taken all that was sent to it.
    case emptied(SessionID)
    /// A subscriber that wanders between nodes moves on.
    case wanderer(Int)
    /// A client with a cursor moves on, or stays.
    case client(Int)
    /// A client with a cursor connects to a node.
    case connect(Int)
    /// A slow client takes what came, if it is still on this connection.
    case clientReads(Int, connection: Int)
    /// Agents do something among each other: what the world begins with, or whatever comes to their minds.
    case social(SocialAct.What?)
    /// A node hears that a subscriber is gone; that one reads too slowly.
    case closed(SessionID)
    case overran(SessionID)
}

/// What is due, ordered by (time, insertion): a binary heap of plain numbers beside a slab of happenings.
struct Agenda {
    private struct Entry {
        let time: UInt64
        let order: UInt64
        let slot: Int

        func comes(before other: Entry) -> Bool { time != other.time ? time < other.time : order < other.order }
    }

    private var heap: [Entry] = []
    private var slots: [Happening] = []
    private var free: [Int] = []
    private var inserted: UInt64 = 0

    /// When the next thing happens; nil when nothing is due.
    var nextTime: UInt64? { heap.first?.time }

    /// Makes `happening` due at `time`.
    mutating func add(_ happening: Happening, at time: UInt64) {
        let slot: Int
        if let reused = free.popLast() {
            slot = reused
            slots[slot] = happening
        } else {
            slot = slots.count
            slots.append(happening)
        }
        heap.append(Entry(time: time, order: inserted, slot: slot))
        inserted += 1
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].comes(before: heap[parent]) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes out the first thing due; only called when there is one.
    mutating func removeFirst() -> (time: UInt64, Happening) {
        let first = heap[0]
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            var parent = 0
            while true {
                var least = parent
                let (left, right) = (2 * parent + 1, 2 * parent + 2)
                if left < heap.count, heap[left].comes(before: heap[least]) { least = left }
                if right < heap.count, heap[right].comes(before: heap[least]) { least = right }
                guard least != parent else { break }
                heap.swapAt(parent, least)
                parent = least
            }
        }
        let happening = slots[first.slot]
        slots[first.slot] = .agent(-1)
        free.append(first.slot)
        return (first.time, happening)
    }
}
