internal import NodeCore
internal import Transport

/// Chats, who is in them, and what is said there.
extension API {
    static let chats: [Endpoint] = [
        listChats, createChat, oneChat, patchChat, deleteChat, setMember, removeMember, postMessage, chatMessages,
        markRead,
        unread,
    ]

    private static let id = Endpoint.Parameter(
        name: "id", place: .path, schema: .wanted, isRequired: true, about: "The chat's id.")
    private static let agentID = Endpoint.Parameter(
        name: "agent_id", place: .path, schema: .name, isRequired: true, about: "The agent's id.")
    private static let forbidden = refusal(403, "Not a member, or the role may not do this; it says who may.")
    private static let unknown = refusal(404, "Unknown chat or agent.")
    private static let full = refusal(409, "A bound is reached: it says which and what to do.")

    private static func refusal(_ status: Int, _ about: String) -> Endpoint.Answer {
        Endpoint.Answer(status: status, about: about, schema: .named("Error"))
    }

    private static func query(_ name: String, _ schema: Schema, _ about: String) -> Endpoint.Parameter {
        Endpoint.Parameter(name: name, schema: schema, about: about)
    }

    private static let limit = query(
        "limit", .integer(1...Int.max), "At most so many; 100 by default, never more than 100,000.")

    // MARK: - Chats

    private static let listChats = Endpoint(
        method: .get, path: "/api/chats", tag: .chats, summary: "Chats, the newest first",
        about:
            "All of them, or those of one agent. An agent that asks sees those that it is in and those that it may join.",
        parameters: [
            query(
                "agent", .name,
                "Only those that this agent is a member of; without `Hypha-Agent` it is also who asks."),
            query("before", .text(), "Only those that were made before this chat."), limit,
        ],
        answers: [Endpoint.Answer(status: 200, about: "The chats.", schema: .array(.named("Chat"))), unknown],
        make: list)

    private static func list(_ path: [String: String], _ query: Query, _ caller: Caller) throws(BadQuery) -> Route {
        let page = try query.page(default: 100)
        return .ask(
            .chats(.chats(agent: try query.agent(), before: page.before, limit: page.limit), by: caller.asker))
    }

    private static let createChat = Endpoint(
        method: .post, path: "/api/chats", tag: .chats, summary: "Make a chat",
        about:
            "Whoever makes it is its owner. Of two agents there is one private chat: made again, it is what is there, and "
            + "whoever had left it is back.",
        body: Endpoint.Content(
            schema: .object([
                .required("chat_type", .text(choices: ["private", "group"])),
                .orNull("created_by", .name, "Who makes it; else whoever asks."),
                .orNull("participants", .array(.name, length: 0...1_000)), .orNull("topic", .name),
                .orNull("join", joining, "Who may come in; `open` by default for groups."),
                .orNull("access_rights", .map(.named("ChatRole")), "Of participants; whoever makes it is its owner."),
                .orNull("id", .name, "Its id; one is made by default, and always for two."),
            ])),
        answers: [
            Endpoint.Answer(status: 201, about: "The new chat.", schema: .named("Chat")),
            Endpoint.Answer(status: 200, about: "It was there already.", schema: .named("Chat")),
            refusal(403, "`created_by` is not who asks."), refusal(404, "An agent that nobody has introduced."),
            refusal(409, "The id is another chat's, or an agent is in too many."),
            refusal(413, "Too many participants at once."),
            refusal(507, "There are too many chats."),
        ], make: { _, _, caller in .ask(.chats(.create, by: caller.asker)) })

    private static let oneChat = Endpoint(
        method: .get, path: "/api/chats/{id}", tag: .chats, summary: "One chat",
        about: "For its members, and for all if anybody may join it.", parameters: [id],
        answers: [Endpoint.Answer(status: 200, about: "The chat.", schema: .named("Chat")), forbidden, unknown],
        make: { path, _, caller in .ask(.chats(.chat(path["id"] ?? ""), by: caller.asker)) })

    private static let patchChat = Endpoint(
        method: .patch, path: "/api/chats/{id}", tag: .chats, summary: "Change a chat's topic, and who may join",
        about: "A merge patch (RFC 7396). The owner and admins may.", parameters: [id],
        body: Endpoint.Content(
            schema: .object([
                .orNull("topic", .name), .orNull("join", joining),
            ])),
        answers: [
            Endpoint.Answer(status: 200, about: "The chat as it is now.", schema: .named("Chat")), forbidden, unknown,
        ],
        make: { path, _, caller in .ask(.chats(.patch(path["id"] ?? ""), by: caller.asker)) })

    private static let deleteChat = Endpoint(
        method: .delete, path: "/api/chats/{id}", tag: .chats, summary: "Delete a chat and what was said there",
        about: "Its owner may.", parameters: [id],
        answers: [Endpoint.Answer(status: 204, about: "It is gone."), forbidden, unknown],
        make: { path, _, caller in .ask(.chats(.delete(path["id"] ?? ""), by: caller.asker)) })

    private static let joining = Schema.text(choices: ["open", "invite"])

    // MARK: - Members

    private static let setMember = Endpoint(
        method: .put, path: "/api/chats/{id}/members/{agent_id}", tag: .chats,
        summary: "Join, bring in, or change a role",
        about: "For oneself it is joining, for another bringing in; for a member it sets the role.",
        parameters: [id, agentID],
        body: Endpoint.Content(schema: .object([.orNull("role", .named("ChatRole"))]), isRequired: false),
        answers: [
            Endpoint.Answer(status: 201, about: "It is a member now.", schema: .named("ChatMember")),
            Endpoint.Answer(status: 200, about: "It was one; this is its role now.", schema: .named("ChatMember")),
            forbidden, unknown, full,
        ],
        make: { path, _, caller in
            .ask(.chats(.setMember(chat: path["id"] ?? "", agent: path["agent_id"] ?? ""), by: caller.asker))
        })

    private static let removeMember = Endpoint(
        method: .delete, path: "/api/chats/{id}/members/{agent_id}", tag: .chats, summary: "Leave, or remove a member",
        about:
            "Everybody may leave. The owner and admins may remove others, but not the owner, and nobody from a private "
            + "chat.", parameters: [id, agentID],
        answers: [Endpoint.Answer(status: 204, about: "It is no member any more."), forbidden, unknown],
        make: { path, _, caller in
            .ask(.chats(.removeMember(chat: path["id"] ?? "", agent: path["agent_id"] ?? ""), by: caller.asker))
        })

    // MARK: - Messages

    private static let postMessage = Endpoint(
        method: .post, path: "/api/chats/{id}/messages", tag: .chats, summary: "Say something in a chat",
        about: "The same id again is the same message, for at least ten minutes and while it is stored.",
        parameters: [id],
        body: Endpoint.Content(schema: .object(said)),
        answers: [
            Endpoint.Answer(status: 201, about: "The message as stored.", schema: .named("ChatMessage")),
            Endpoint.Answer(status: 200, about: "As first stored under this id.", schema: .named("ChatMessage")),
            forbidden,
            unknown, refusal(409, "Another content under a known id, or somebody else has the turn."),
        ], make: { path, _, caller in .ask(.chats(.post(chat: path["id"] ?? ""), by: caller.asker)) })

    private static let said: [Schema.Property] = [
        .maybe("id", .uuid), .orNull("from", .name, "Who says it; else whoever asks."),
        .orNull("to", .name, "The member to whom it is addressed."),
        .orNull("message_type", .name, "`text` by default."), .required("content", .any),
        .orNull("is_private", .boolean(), "Only `from` and `to` see it."),
        .orNull("token", .integer(0...(1 << 53 - 1)), "What came with the sender's turn."),
        .maybe("langchain_context", .any),
    ]

    private static let chatMessages = Endpoint(
        method: .get, path: "/api/chats/{id}/messages", tag: .chats,
        summary: "What was said in a chat, the oldest first",
        about:
            "The newest `limit`, those before, or those after a message. What it answers a member was delivered to it. "
            + "Who names no agent sees all but private messages.",
        parameters: [
            id, query("after", .text(), "The first ones after this message's id, stamp or time."),
            query("before", .text(), "Only those before this message's id, stamp or time."), limit,
        ],
        answers: [
            Endpoint.Answer(status: 200, about: "The messages.", schema: .array(.named("ChatMessage"))), forbidden,
            unknown,
        ], make: page)

    private static func page(_ path: [String: String], _ query: Query, _ caller: Caller) throws(BadQuery) -> Route {
        let page = try query.page(default: 100)
        return .ask(
            .chats(
                .messages(chat: path["id"] ?? "", after: query["after"], before: page.before, limit: page.limit),
                by: caller.asker))
    }

    private static let markRead = Endpoint(
        method: .post, path: "/api/chats/{id}/messages/{message_id}/read", tag: .chats, summary: "Read up to a message",
        parameters: [
            id,
            Endpoint.Parameter(
                name: "message_id", place: .path, schema: .text(format: "uuid"), isRequired: true,
                about: "The message's id."),
        ],
        body: Endpoint.Content(
            schema: .object([.orNull("agent_id", .name, "Who has read; else whoever asks.")]), isRequired: false),
        answers: [
            Endpoint.Answer(
                status: 200, about: "How much is unread now.",
                schema: .object([
                    .required("chat_id", .text()), .required("agent_id", .text()),
                    .required("unread", .integer(0...Int.max)),
                ])), forbidden, unknown,
        ],
        make: { path, _, caller in
            .ask(.chats(.markRead(chat: path["id"] ?? "", message: path["message_id"] ?? ""), by: caller.asker))
        })

    private static let unread = Endpoint(
        method: .get, path: "/api/agents/{agent_id}/unread", tag: .chats, summary: "What an agent has not read",
        about:
            "Messages of others that it may see, said since it came into the chat, behind the last one that it said it "
            + "has read.", parameters: [agentID],
        answers: [
            Endpoint.Answer(
                status: 200, about: "In all its chats, and in each.",
                schema: .object([
                    .required("agent_id", .text()), .required("unread", .integer(0...Int.max)),
                    .required(
                        "chats",
                        .array(
                            .object([.required("chat_id", .text()), .required("unread", .integer(0...Int.max))]))),
                ])), forbidden, unknown,
        ], make: { path, _, caller in .ask(.chats(.unread(agent: path["agent_id"] ?? ""), by: caller.asker)) })

    // MARK: - Schemas

    static let chatSchemas: [NamedSchema] = [
        NamedSchema(name: "ChatRole", schema: .text(choices: ["owner", "admin", "member", "guest"])),
        NamedSchema(
            name: "Chat",
            schema: .object([
                .required("id", .text()), .required("chat_type", .text(choices: ["private", "group"])),
                .required("created_by", .text()), .required("participants", .array(.text())),
                .required("access_rights", .map(.named("ChatRole"))), .required("topic", .optional(.text())),
                .required("join", .text(choices: ["open", "invite"])),
                .required("created_at", .text(format: "date-time")),
                .required("last_activity", .text(format: "date-time")),
                .maybe(
                    "acting_admin", .text(about: "Who counts as an admin, as it is in there longest and there is none.")
                ),
            ])),
        NamedSchema(
            name: "ChatMember",
            schema: .object([
                .required("chat_id", .text()), .required("agent_id", .text()), .required("role", .named("ChatRole")),
                .required("by", .optional(.text(about: "Who brought it in."))),
                .required("since", .text(format: "date-time")),
            ])),
        NamedSchema(
            name: "ChatMessage",
            schema: .object([
                .required("id", .text(format: "uuid")), .required("chat_id", .text()), .required("from", .text()),
                .maybe("to", .text()), .required("message_type", .text()), .required("content", .any),
                .required("is_private", .boolean()), .maybe("langchain_context", .any),
                .required("timestamp", .text(format: "date-time")), .required("origin", .text()),
                .required("replica", .text()), .required("seq", .integer(1...Int.max)), .required("stamp", .text()),
                .required("status", .text(choices: ["sent", "delivered", "read"])),
                .maybe(
                    "after_removal", .boolean(about: "Its sender was no member when it said this; admins alone see it.")
                ),
            ])),
    ]
}
