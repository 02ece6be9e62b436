internal import NodeCore
internal import Transport

/// The registry of Soorma (docs/soorma-registry.md).
extension API {
    static let soormaRegistry: [Endpoint] = serviceAgents + eventTypes + payloadSchemas

    private static let serviceID = Parameter.path("agent_id", .name, "The agent's id.")

    private static let serviceAgents: [Endpoint] = [
        Endpoint(
            method: .post, path: "/v1/agents", tag: .soormaRegistry, summary: "Register an agent",
            about:
                "Again, it registers anew: what it said before is replaced. The same agent is seen under `/api/manifests` "
                + "and `/api/registry/agents`. Names may be written as in `agent_id`, too, and all may stand in the body "
                + "itself.",
            body: .init(
                schema: .anyOf([.object([.required("agent", .named("ServiceAgentDraft"))]), .named("ServiceAgentFlat")])
            ),
            answers: [
                .ok("It is registered.", .named("ServiceAgentRegistered")),
                .refusal(507, "There are as many agents as may be."),
            ]
        ) { _, _, _ in .ask(.soorma(.registry(.registerAgent))) },
        Endpoint(
            method: .get, path: "/v1/agents", tag: .soormaRegistry, summary: "Find agents",
            about:
                "In the order of their ids, at most 10,000. All conditions have to hold. Agents that other protocols "
                + "introduced are among them.",
            parameters: [
                .query("agent_id", .text(), "Only this agent."),
                .query("name", .text(), "Only agents of this name; the version behind the colon may be left out."),
                .query("consumed_event", .text(), "Only agents that take this event."),
                .query("produced_event", .text(), "Only agents that make this event."), includeExpired,
            ],
            answers: [.ok("The agents.", .named("ServiceAgents"))]
        ) { _, query, _ throws(BadQuery) in
            .ask(
                .soorma(
                    .registry(
                        .agents(
                            id: query["agent_id"], name: query["name"], consumedEvent: query["consumed_event"],
                            producedEvent: query["produced_event"],
                            includeExpired: try query.flag("include_expired", default: false)))))
        },
        Endpoint(
            method: .get, path: "/v1/agents/discover", tag: .soormaRegistry, summary: "Find agents that are there",
            about: "As `GET /v1/agents`, without those that have expired.",
            parameters: [.query("consumed_event", .text(), "Only agents that take this event.")],
            answers: [.ok("The agents.", .named("ServiceAgents"))]
        ) { _, query, _ in
            .ask(
                .soorma(
                    .registry(
                        .agents(
                            id: nil, name: nil, consumedEvent: query["consumed_event"], producedEvent: nil,
                            includeExpired: false))))
        },
        heartbeat(.put), heartbeat(.post),
        Endpoint(
            method: .delete, path: "/v1/agents/{agent_id}", tag: .soormaRegistry, summary: "Remove an agent",
            about: "It retires, as with `DELETE /api/manifests/{agent_id}`.", parameters: [serviceID],
            answers: [.noContent("It is gone."), .refusal(404, "Nobody of this id is registered.")]
        ) { path, _, _ in .ask(.soorma(.registry(.removeAgent(path["agent_id"] ?? "")))) },
    ]

    private static let includeExpired = Parameter.query(
        "include_expired", .text(choices: ["true", "false", "True", "False", "1", "0"]),
        "`true` shows agents, too, that have not been heard of for 300 s and are connected nowhere.")

    private static func heartbeat(_ method: HTTPMethod) -> Endpoint {
        Endpoint(
            method: method, path: "/v1/agents/{agent_id}/heartbeat", tag: .soormaRegistry, summary: "A sign of life",
            about: "Written down every 10 s at most, so send it every 10 s to 100 s.", parameters: [serviceID],
            answers: [
                .ok("It was heard.", .named("ServiceAgentRegistered")),
                .refusal(404, "Nobody of this id is registered: register anew."),
            ]
        ) { path, _, _ in .ask(.soorma(.registry(.heartbeat(agent: path["agent_id"] ?? "")))) }
    }

    private static let eventTypes: [Endpoint] = [
        Endpoint(
            method: .post, path: "/v1/events", tag: .soormaRegistry, summary: "Describe a type of events",
            about: "Again under the same name, it replaces what was said. All may stand in the body itself.",
            body: .init(
                schema: .anyOf([.object([.required("event", .named("EventTypeDraft"))]), .named("EventTypeDraft")])),
            answers: [
                .ok(
                    "It is registered.",
                    .object([
                        .required("eventName", .text()), .required("success", .boolean()),
                        .required("message", .text()),
                    ])), .refusal(507, "There are as many as may be."),
            ]
        ) { _, _, _ in .ask(.soorma(.registry(.registerEvent))) },
        Endpoint(
            method: .get, path: "/v1/events", tag: .soormaRegistry, summary: "Find types of events",
            about: "In the order of their names. All conditions have to hold.",
            parameters: [
                .query("event_name", .text(), "Only the one of this name."),
                .query("topic", .text(), "Only those on this topic."),
            ],
            answers: [
                .ok(
                    "The types, as they were described.",
                    .object([.required("events", .array(.named("EventTypeDefinition"))), .required("count", .count)]))
            ]
        ) { _, query, _ in .ask(.soorma(.registry(.events(name: query["event_name"], topic: query["topic"])))) },
    ]

    private static let schemaName = Parameter.path("schema_name", .wanted, "The schema's name; a slash comes as `%2F`.")

    private static let payloadSchemas: [Endpoint] = [
        Endpoint(
            method: .post, path: "/v1/schemas", tag: .soormaRegistry, summary: "Register a version of a schema",
            about: "Again under the same version, it replaces what was said. All may stand in the body itself.",
            body: .init(
                schema: .anyOf([
                    .object([.required("schema", .named("PayloadSchemaDraft"))]), .named("PayloadSchemaDraft"),
                ])),
            answers: [
                .ok(
                    "It is registered.",
                    .object([
                        .required("schemaName", .text()), .required("version", .text()),
                        .required("success", .boolean()), .required("message", .text()),
                    ])), .refusal(507, "There are as many schemas, or versions of this one, as may be."),
            ]
        ) { _, _, _ in .ask(.soorma(.registry(.registerSchema))) },
        Endpoint(
            method: .get, path: "/v1/schemas", tag: .soormaRegistry, summary: "List schemas",
            about: "Every version of every schema: in the order of their names, the highest version first.",
            parameters: [.query("owner_agent_id", .text(), "Only versions that this agent owns.")],
            answers: [
                .ok(
                    "The versions, as they were registered.",
                    .object([.required("schemas", .array(.named("PayloadSchema"))), .required("count", .count)]))
            ]
        ) { _, query, _ in .ask(.soorma(.registry(.schemas(owner: query["owner_agent_id"])))) },
        Endpoint(
            method: .get, path: "/v1/schemas/{schema_name}", tag: .soormaRegistry, summary: "A schema's latest version",
            about: "The highest by Semantic Versioning 2.0.0; names that are no version come below all that are.",
            parameters: [schemaName],
            answers: [.ok("The schema.", .named("PayloadSchema")), .refusal(404, "No schema is called so.")]
        ) { path, _, _ in .ask(.soorma(.registry(.schema(name: path["schema_name"] ?? "", version: nil)))) },
        Endpoint(
            method: .get, path: "/v1/schemas/{schema_name}/versions/{version}", tag: .soormaRegistry,
            summary: "One version of a schema", parameters: [schemaName, .path("version", .wanted, "The version.")],
            answers: [.ok("The schema.", .named("PayloadSchema")), .refusal(404, "There is no such version.")]
        ) { path, _, _ in
            .ask(.soorma(.registry(.schema(name: path["schema_name"] ?? "", version: path["version"]))))
        },
    ]

    private static let eventNames = Schema.optional(.array(.text(length: 0...1_024), length: 0...1_000))
    /// A text, or what the SDK says of a capability: who it is for names itself.
    private static let serviceCapabilities = Schema.array(
        .anyOf([.name, .object([.required("taskName", .name)]), .object([.required("task_name", .name)])]),
        length: 0...1_000)

    static let soormaRegistrySchemas: [NamedSchema] = [
        NamedSchema(
            name: "ServiceAgentDraft",
            schema: .object([
                .required("agentId", .name), .required("name", .name), .orNull("description", .text()),
                .orNull("capabilities", serviceCapabilities, "Kept and shown as they came."),
                .orNull("consumedEvents", eventNames), .orNull("producedEvents", eventNames),
                .orNull("agentType", .name, "`soorma` by default."),
            ])),
        NamedSchema(
            name: "ServiceAgentFlat",
            schema: .object([
                .required("agent_id", .name), .required("name", .name), .orNull("agent_type", .name),
                .orNull("capabilities", serviceCapabilities), .orNull("events_consumed", eventNames),
                .orNull("events_produced", eventNames),
            ])),
        NamedSchema(
            name: "ServiceAgentRegistered",
            schema: .object([
                .required("agentId", .text()), .required("success", .boolean()), .required("message", .text()),
            ])),
        NamedSchema(
            name: "ServiceAgents",
            schema: .object([.required("agents", .array(.named("ServiceAgent"))), .required("count", .count)])),
        NamedSchema(
            name: "ServiceAgent",
            schema: .object([
                .required("agentId", .text()), .required("name", .text(), "Mostly with a version behind a colon."),
                .required("description", .text()),
                .required(
                    "capabilities", .array(.object([])),
                    "As they came; those of other protocols, and mere names, with all members that SDKs demand."),
                .required("consumedEvents", .array(.text()), "As stated, or those of the capabilities."),
                .required("producedEvents", .array(.text()), "As stated, or those of the capabilities."),
            ])),
        NamedSchema(
            name: "EventTypeDraft",
            schema: .object([
                .required("eventName", .name), .required("topic", .name), .orNull("description", .text()),
            ])),
        NamedSchema(
            name: "EventTypeDefinition",
            schema: .object([
                .required("eventName", .text()), .required("topic", .text()), .required("description", .text()),
            ])),
        NamedSchema(
            name: "PayloadSchemaDraft",
            schema: .object([
                .required("schemaName", .name), .required("version", .text(length: 1...128)),
                .required("jsonSchema", .object([])), .orNull("description", .text()), .orNull("ownerAgentId", .name),
            ])),
        NamedSchema(
            name: "PayloadSchema",
            schema: .object([
                .required("schemaName", .text()), .required("version", .text()), .required("jsonSchema", .object([])),
                .required("createdAt", .time), .required("updatedAt", .time),
            ])),
    ]
}
