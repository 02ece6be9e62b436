import CRDT
import Gossip

/// Speaker turns (docs/turns.md).
extension NodeCore {
    /// What is asked about turns.
    mutating func answer(
        _ id: RequestID, _ request: TurnRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        throw .notFound("not yet")
    }

    /// Refuses a message out of turn, by what is known here; `token` is that of the sender's grant, if it said one. The
    /// error says whose turn it is and until when.
    func checkTurn(
        _ agent: String, _ role: ChatRole, in chat: String, token: Int?, now: Instant
    ) throws(NodeError) {}

    /// An agent retires, or is no member of a chat any more: it gives back its turn there and waits for none; with nil, in
    /// all chats.
    mutating func releaseTurns(
        _ agent: String, in chat: String?, now: Instant, into effects: inout Effects
    ) throws(NodeError) {}
}
