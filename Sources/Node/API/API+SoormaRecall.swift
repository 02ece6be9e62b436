internal import NodeCore
internal import Transport

/// What the memory service of Soorma searches (docs/soorma-recall.md).
extension API {
    static let soormaRecall: [Endpoint] = knowledge + interactions + procedures

    private static let knowledge: [Endpoint] = [
        Endpoint(
            method: .post, path: "/v1/memory/semantic", tag: .soormaMemory, summary: "Store knowledge",
            about: "Takes the place of what the user has stored under the same `externalId`, or with the same content.",
            parameters: soormaTenancy, body: .init(schema: .named("SoormaKnowledgeWrite")),
            answers: [.ok("It is stored.", .named("SoormaKnowledge"))] + [.tooLong, .full]
        ) { _, _, caller in ask(caller, .storeKnowledge) },
        Endpoint(
            method: .post, path: "/v1/memory/semantic/query", tag: .soormaMemory, summary: "Search knowledge",
            about:
                "The user's own, and what others of the tenant have made public; the best first. The body may be empty, or "
                + "name a vector: then the angle between vectors counts, and with a query the mean of both.",
            parameters: [
                .query("query", .text(), "Words to look for; needed without a vector."), limit(10),
                .query("include_public", .text(choices: ["true", "false"]), "`false`: only the user's own."),
            ] + soormaTenancy,
            body: .init(schema: .named("SoormaVectorQuery"), isRequired: false),
            answers: [.ok("What was found.", .array(.named("SoormaKnowledge")))]
        ) { _, query, caller throws(BadQuery) in
            ask(
                caller,
                .queryKnowledge(
                    query["query"] ?? "", limit: try query.recalled(default: 10),
                    includePublic: try query.flag("include_public", default: true)))
        },
        Endpoint(
            method: .delete, path: "/v1/memory/semantic/{id}", tag: .soormaMemory, summary: "Delete own knowledge",
            parameters: [id] + soormaTenancy,
            answers: [.noContent("It is gone."), .refusal(404, "The user has nothing of that id.")]
        ) { path, _, caller in ask(caller, .deleteKnowledge(path["id"] ?? "")) },
    ]

    private static let interactions: [Endpoint] = [
        Endpoint(
            method: .post, path: "/v1/memory/episodic", tag: .soormaMemory, summary: "Log an interaction",
            about: "Of an agent and a user 10,000 interactions are kept, or 16 MiB: the oldest go.",
            parameters: soormaTenancy, body: .init(schema: .named("SoormaInteractionWrite")),
            answers: [.ok("It is logged.", .named("SoormaInteraction"))] + [.tooLong, .full]
        ) { _, _, caller in ask(caller, .logInteraction) },
        Endpoint(
            method: .get, path: "/v1/memory/episodic/recent", tag: .soormaMemory,
            summary: "List what an agent and a user said last", about: "The newest first.",
            parameters: [agent, limit(10)] + soormaTenancy,
            answers: [.ok("The interactions.", .array(.named("SoormaInteraction")))]
        ) { _, query, caller throws(BadQuery) in
            ask(
                caller,
                .recentInteractions(
                    agent: try query.wanted("agent_id", limit: 1_024), limit: try query.recalled(default: 10)))
        },
        Endpoint(
            method: .get, path: "/v1/memory/episodic/search", tag: .soormaMemory,
            summary: "Search what an agent and a user said", about: "The best first.",
            parameters: [agent, words, limit(10)] + soormaTenancy,
            answers: [.ok("What was found.", .array(.named("SoormaInteraction")))]
        ) { _, query, caller throws(BadQuery) in
            ask(
                caller,
                .searchInteractions(
                    agent: try query.wanted("agent_id", limit: 1_024), try query.wanted("q"),
                    limit: try query.recalled(default: 10)))
        },
    ]

    private static let procedures: [Endpoint] = [
        Endpoint(
            method: .post, path: "/v1/memory/procedural", tag: .soormaMemory,
            summary: "Store how an agent does something",
            about: "SDKs only read these. What is stored twice is there once.",
            parameters: soormaTenancy, body: .init(schema: .named("SoormaProcedureWrite")),
            answers: [.ok("It is stored.", .named("SoormaProcedure"))] + [.tooLong, .full]
        ) { _, _, caller in ask(caller, .storeProcedure) },
        Endpoint(
            method: .get, path: "/v1/memory/procedural/context", tag: .soormaMemory,
            summary: "Find how an agent does something",
            about: "The best first; where nothing fits, all that the agent has, the newest first, with score 0.",
            parameters: [agent, words, limit(3)] + soormaTenancy,
            answers: [.ok("What was found.", .array(.named("SoormaProcedure")))]
        ) { _, query, caller throws(BadQuery) in
            ask(
                caller,
                .procedures(
                    agent: try query.wanted("agent_id", limit: 1_024), try query.wanted("q"),
                    limit: try query.recalled(default: 3)))
        },
        Endpoint(
            method: .delete, path: "/v1/memory/procedural/{id}", tag: .soormaMemory, summary: "Delete a procedure",
            parameters: [id] + soormaTenancy,
            answers: [.noContent("It is gone."), .refusal(404, "There is none of that id for this user.")]
        ) { path, _, caller in ask(caller, .deleteProcedure(path["id"] ?? "")) },
    ]

    private static func ask(_ caller: Caller, _ request: RecallRequest) -> Route {
        .ask(.soorma(.recall(request, caller.tenancy)))
    }

    private static let id = Parameter.path("id", .wanted, "The id that storing it has answered with.")
    private static let agent = Parameter.query("agent_id", .name, "The agent's id.", isRequired: true)
    private static let words = Parameter.query("q", .wanted, "Words to look for.", isRequired: true)
    private static func limit(_ count: Int) -> Parameter {
        .query("limit", .integer(1...100), "At most so many; \(count) by default.")
    }

    private static let content = Schema.text(length: 1...65_536, about: "At most 64 KiB of UTF-8.")
    private static let vector = Schema.array(.number(), length: 1...4_096)
    private static let score = Schema.optional(
        .number(0...1, about: "How well it fits, only to be compared within one answer; null where nobody searched."))

    static let soormaRecallSchemas: [NamedSchema] = [
        NamedSchema(
            name: "SoormaVectorQuery",
            schema: .object([.orNull("embedding", vector, "1 to 4,096 numbers, not all of them zero.")])),
        NamedSchema(
            name: "SoormaKnowledgeWrite",
            schema: .object([
                .required("content", content), .orNull("externalId", .name), .orNull("isPublic", .boolean()),
                .orNull("metadata", .map(.any)), .orNull("tags", .array(.name, length: 0...100)),
                .orNull("source", .name), .orNull("embedding", vector),
            ])),
        NamedSchema(
            name: "SoormaKnowledge",
            schema: .object([
                .required("id", .uuid), .required("tenantId", .text()), .required("userId", .text()),
                .required("content", .text()), .required("externalId", .optional(.text())),
                .required("isPublic", .boolean()), .required("metadata", .map(.any)),
                .required("tags", .optional(.array(.text()))), .required("source", .optional(.text())),
                .required("createdAt", .time), .required("updatedAt", .time), .required("score", score),
            ])),
        NamedSchema(
            name: "SoormaInteractionWrite",
            schema: .object([
                .required("agentId", .name),
                .required("role", .text(choices: ["user", "assistant", "system", "tool"])),
                .required("content", content), .orNull("metadata", .map(.any)), .orNull("embedding", vector),
            ])),
        NamedSchema(
            name: "SoormaInteraction",
            schema: .object([
                .required("id", .uuid), .required("tenantId", .text()), .required("userId", .text()),
                .required("agentId", .text()), .required("role", .text()), .required("content", .text()),
                .required("metadata", .map(.any)), .required("createdAt", .time), .required("score", score),
            ])),
        NamedSchema(
            name: "SoormaProcedureWrite",
            schema: .object([
                .required("agentId", .name), .orNull("userId", .name, "For this user only; else for all."),
                .orNull("triggerCondition", .text(length: 1...8_192), "When it is to be used."),
                .required("procedureType", .text(choices: ["system_prompt", "few_shot_example"])),
                .required("content", content), .orNull("embedding", vector),
            ])),
        NamedSchema(
            name: "SoormaProcedure",
            schema: .object([
                .required("id", .uuid), .required("tenantId", .text()), .required("userId", .text()),
                .required("agentId", .text()), .required("triggerCondition", .optional(.text())),
                .required("procedureType", .text()), .required("content", .text()), .required("createdAt", .time),
                .required("score", score),
            ])),
    ]
}

extension Endpoint.Answer {
    fileprivate static let tooLong = refusal(413, "Content or metadata longer than 64 KiB.")
    fileprivate static let full = refusal(507, "No room for more; `message` says for more of what.")
}

extension Query {
    /// How many are wanted of what is searched.
    fileprivate func recalled(default count: Int) throws(BadQuery) -> Int {
        guard let text = self["limit"] else { return count }
        guard let limit = Int(text), (1...100).contains(limit) else {
            throw refusal("limit", "a whole number from 1 to 100", text)
        }
        return limit
    }

    /// A text of at most so many bytes that has to be there.
    fileprivate func wanted(_ name: String, limit: Int = .max) throws(BadQuery) -> String {
        guard let text = self[name], !text.isEmpty else { throw refusal(name, "a text that is not empty", "") }
        guard text.utf8.count <= limit else { throw refusal(name, "at most \(limit) bytes", text) }
        return text
    }
}
