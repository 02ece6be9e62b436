import CRDT
import Gossip

/// Chats (docs/chats.md).
extension NodeCore {
    /// What is asked about chats.
    mutating func answer(
        _ id: RequestID, _ request: ChatRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        throw .notFound("not yet")
    }

    /// The role of an agent in a chat, by what is known here; nil if it is no member. Of a chat without an admin the member
    /// who is in it longest counts as one.
    mutating func role(of agent: String, in chat: String) -> ChatRole? { nil }

    /// The chats of which an agent is a member, by id.
    mutating func chats(of agent: String) -> [String] { [] }

    /// An agent retires: it leaves its chats, and they are told.
    mutating func leaveChats(_ agent: String, now: Instant, into effects: inout Effects) throws(NodeError) {}
}
