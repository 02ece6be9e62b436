import CRDT
import Foundation
import Testing

@testable import Gossip
@testable import NodeCore

extension NodeWorld {
    /// Introduces agents at a node.
    mutating func introduce(_ agents: [String], at i: Int = 0) {
        for agent in agents { introduce(agent, at: i) }
    }

    /// An agent leaves its chats and retires at a node.
    mutating func leaveAndRetire(_ agent: String, at i: Int = 0) {
        try! act(i) { (core, now, effects) throws(NodeError) in
            try core.leaveChats(agent, now: now, into: &effects)
            try core.put(DocumentKind.agent.name(agent), [.remove], now: now, into: &effects)
        }
    }

    /// Asks about chats, as an agent or as an operator.
    mutating func chats(_ i: Int, _ request: ChatRequest, by agent: String? = nil, _ body: String = "") -> Answer {
        ask(i, .chats(request, by: Asker(agent)), body)
    }

    /// Makes a group of these agents, the first its owner.
    @discardableResult
    mutating func group(
        _ i: Int, _ id: String, _ agents: [String], roles: [String: String] = [:], join: String = "open"
    ) -> Answer {
        let rights = roles.map { "\"\($0)\":\"\($1)\"" }.joined(separator: ",")
        let names = agents.map { "\"\($0)\"" }.joined(separator: ",")
        let answer = chats(
            i, .create, by: agents[0],
            #"{"id":"\#(id)","chat_type":"group","topic":"t","join":"\#(join)","participants":[\#(names)],"#
                + #""access_rights":{\#(rights)}}"#)
        deliver()
        return answer
    }

    /// Says something in a chat.
    @discardableResult
    mutating func speak(
        _ i: Int, _ agent: String, _ number: Int? = nil, in chat: String = "c", _ more: String = ""
    ) -> Answer {
        let given = number.map { "\"id\":\"\(NodeCoreTests.id($0))\"," } ?? ""
        return chats(i, .post(chat: chat), by: agent, #"{\#(given)"content":{"n":\#(number ?? 0)}\#(more)}"#)
    }

    mutating func page(
        _ i: Int = 0, as agent: String?, in chat: String = "c", after: String? = nil, before: String? = nil,
        limit: Int = 100
    ) -> Answer {
        chats(i, .messages(chat: chat, after: after, before: before, limit: limit), by: agent)
    }

    /// The ids of a page of messages.
    mutating func said(
        _ i: Int = 0, as agent: String?, in chat: String = "c", after: String? = nil, before: String? = nil,
        limit: Int = 100
    ) -> [String] {
        ids(page(i, as: agent, in: chat, after: after, before: before, limit: limit))
    }

    mutating func unread(_ i: Int, _ agent: String) -> Int {
        chats(i, .unread(agent: agent), by: agent).object["unread"] as? Int ?? -1
    }

    mutating func rights(_ i: Int = 0, _ chat: String = "c") -> [String: String] {
        chats(i, .chat(chat)).object["access_rights"] as? [String: String] ?? [:]
    }

    mutating func setRole(_ i: Int, _ agent: String, _ role: String?, by asker: String?) -> Answer {
        chats(i, .setMember(chat: "c", agent: agent), by: asker, role.map { #"{"role":"\#($0)"}"# } ?? "")
    }

    mutating func remove(_ i: Int, _ agent: String, by asker: String?) -> Answer {
        chats(i, .removeMember(chat: "c", agent: agent), by: asker)
    }

    /// What was told on the topic of chats.
    mutating func told(_ i: Int = 0) -> [[String: Any]] {
        ask(i, .eventsOnTopic("ChatEvents", .init(limit: 100))).list.reversed().map {
            $0["data"] as? [String: Any] ?? [:]
        }
    }

    /// The ids of the messages that a session was shown on the topic Messages.
    func shownMessages(_ session: UInt64, at i: Int) -> [String] {
        messages(session, at: i).compactMap { message in
            let event = message["data"] as? [String: Any]
            return event?["topic"] as? String == "Messages" ? event?["id"] as? String : nil
        }
    }
}
