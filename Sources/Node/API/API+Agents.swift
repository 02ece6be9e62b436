internal import NodeCore
internal import Transport

/// Manifests and public profiles.
extension API {
    static let agents: [Endpoint] = [
        Endpoint(
            method: .get, path: "/api/manifests", tag: .agents,
            summary: "Find agents by status, resource or capability",
            about: "In the order of their ids. All conditions have to hold.",
            parameters: [
                Endpoint.Parameter(name: "status", schema: .text(), about: "Only agents with this status."),
                Endpoint.Parameter(
                    name: "resource", schema: .text(), about: "Only agents that have this available resource."),
                Endpoint.Parameter(
                    name: "capability", schema: .text(),
                    about: "Only agents that have this capability, or a resource of that name."),
                Endpoint.Parameter(
                    name: "after", schema: .text(), about: "Only agents whose ids follow this one: the next page."),
                agentLimit,
            ],
            answers: [Endpoint.Answer(status: 200, about: "Manifests.", schema: .array(.named("Manifest")))],
            make: findManifests),
        Endpoint(
            method: .put, path: "/api/manifests/{agent_id}", tag: .agents,
            summary: "Introduce an agent, or replace its manifest",
            about:
                "What the body does not name is removed, capabilities excepted; without a status it is `active`. Only "
                + "fields that differ are written, so what another node changes at the same time in others stays. A new "
                + "agent is told as `AgentIntroduced` on the topic `AgentLifecycle`, another status as "
                + "`AgentStatusUpdated` on `AgentStatusUpdates`.",
            parameters: [agentInPath],
            body: Endpoint.Content(schema: .object([.orNull("status", status)] + draft, names: 1...1_024)),
            answers: [
                Endpoint.Answer(status: 200, about: "The manifest, replaced.", schema: .named("Manifest")),
                Endpoint.Answer(
                    status: 201, about: "The manifest of an agent that is new.", schema: .named("Manifest")),
                notYourself, Endpoint.Answer(status: 413, about: "Too much for one write.", schema: refusal),
                Endpoint.Answer(status: 507, about: "There are as many agents as may be.", schema: refusal),
            ],
            make: { path, _, caller in .ask(.agents(.introduce(path["agent_id"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .get, path: "/api/manifests/{agent_id}", tag: .agents, summary: "An agent's manifest",
            parameters: [agentInPath],
            answers: [Endpoint.Answer(status: 200, about: "The manifest.", schema: .named("Manifest")), unknownAgent],
            make: { path, _, caller in .ask(.agents(.manifest(path["agent_id"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .patch, path: "/api/manifests/{agent_id}", tag: .agents, summary: "Change parts of a manifest",
            about: "A merge patch (RFC 7396): null removes, objects are merged, an array takes the place of the set.",
            parameters: [agentInPath],
            body: Endpoint.Content(schema: .object([.maybe("status", status)] + draft, names: 1...1_024)),
            answers: [
                Endpoint.Answer(status: 200, about: "The manifest, changed.", schema: .named("Manifest")), notYourself,
                unknownAgent, Endpoint.Answer(status: 413, about: "Too much for one write.", schema: refusal),
            ],
            make: { path, _, caller in .ask(.agents(.patch(path["agent_id"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .delete, path: "/api/manifests/{agent_id}", tag: .agents, summary: "Retire an agent",
            about: "It leaves its chats, gives back its turns and tasks, and its sessions end at every node. Told as "
                + "`AgentRetired` on `AgentLifecycle`.",
            parameters: [agentInPath],
            answers: [Endpoint.Answer(status: 204, about: "It is gone."), notYourself, unknownAgent],
            make: { path, _, caller in .ask(.agents(.retire(path["agent_id"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .get, path: "/agents/{agent_id}", tag: .agents, summary: "An agent's public profile",
            about: "A page for browsers (`Accept: text/html`), JSON for everybody else.", parameters: [agentInPath],
            answers: [
                Endpoint.Answer(status: 200, about: "The profile.", schema: .named("Profile")), unknownAgent,
            ],
            make: { path, _, caller in
                .ask(.agents(.profile(path["agent_id"] ?? "", asPage: caller.wantsPage), by: caller.asker))
            }),
    ]

    private static func findManifests(
        _ path: [String: String], _ query: Query, _ caller: Caller
    ) throws(BadQuery) -> Route {
        let limit = try query.page(default: Route.defaultLimit).limit
        return .ask(
            .agents(
                .manifests(
                    status: query["status"], resource: query["resource"], capability: query["capability"],
                    after: query["after"], limit: limit), by: caller.asker))
    }

    // MARK: - Shared with the registry and attention

    static let agentInPath = Endpoint.Parameter(
        name: "agent_id", place: .path, schema: .name, isRequired: true,
        about: "The agent's id, 1 to 1,024 bytes; a slash comes as `%2F`.")
    static let agentLimit = Endpoint.Parameter(
        name: "limit", schema: .integer(1...Int.max), about: "At most so many, 100 by default, 1,000 ever.")
    static let refusal = Schema.named("Error")
    static let unknownAgent = Endpoint.Answer(status: 404, about: "Nobody has introduced this agent.", schema: refusal)
    static let notYourself = Endpoint.Answer(
        status: 403, about: "The request comes from another agent.", schema: refusal)

    // MARK: - Schemas

    private static let set = Schema.array(.text())
    static let capabilities = Schema.array(.any)

    /// What both a whole manifest and a patch may hold; an `agent_id` among it has to be the one of the path.
    private static let draft: [Schema.Property] = [
        .orNull("current_activities", newSet), .orNull("room_participation", newSet),
        .orNull("available_resources", newSet), .orNull("capabilities", newCapabilities),
        .orNull("public_profile", .object([], names: 1...1_024)),
    ]
    private static let status = Schema.text(length: 1...1_024, about: "Any text, `active` by default.")
    private static let newSet = Schema.array(.name, length: 0...1_000)
    private static let newCapabilities = Schema.array(
        .anyOf([.name, .object([.required("name", .name)])]), length: 0...1_000)

    static let agentSchemas: [NamedSchema] = [
        NamedSchema(
            name: "Manifest",
            schema: .object([
                .required("agent_id", .text()), .required("status", .text()),
                .required("current_activities", set),
                .required("room_participation", set), .required("available_resources", set),
                .required("capabilities", capabilities), .required("public_profile", .object([])),
                .required(
                    "online_status",
                    .text(choices: ["online", "offline"], about: "Whether it is connected to any node.")),
                .required("last_seen", .optional(.time)),
                .required("current_focus", .optional(.text(about: "The dialogue that it attends to."))),
                .required("last_updated", .time),
            ])),
        NamedSchema(
            name: "Profile",
            schema: .object([
                .required("agent_id", .text()), .required("status", .text()),
                .required("online_status", .text(choices: ["online", "offline"])),
                .required("available_resources", set), .required("public_profile", .object([])),
            ])),
        NamedSchema(
            name: "RegistrationDraft",
            schema: .object(
                [
                    .orNull("name", .name, "Required, unless the request names its agent (`Hypha-Agent`)."),
                    .orNull("agent_type", .name), .orNull("capabilities", newCapabilities),
                    .orNull("status", .text(choices: ["active", "idle", "busy", "offline"])),
                    .orNull("metadata", .object([], names: 1...1_024)), .orNull("description", .text()),
                ], names: 1...1_024)),
        NamedSchema(name: "Registration", schema: .object(registration)),
        NamedSchema(
            name: "Load",
            schema: .object(
                registration + [
                    .required("claimed_tasks", .integer(0...Int.max)),
                    .required("waiting_messages", .integer(0...Int.max)),
                ])),
    ]

    private static let registration: [Schema.Property] = [
        .required("name", .text()), .required("agent_type", .optional(.text())),
        .required("capabilities", capabilities),
        .required("status", .text(about: "`offline` after 300 s without a heartbeat or a session.")),
        .maybe("description", .text()), .required("metadata", .object([])), .required("registered_at", .time),
        .required("last_heartbeat", .time),
        .required(
            "message_count", .integer(0...Int.max, about: "Direct messages sent and received, as this node remembers.")),
    ]
}
