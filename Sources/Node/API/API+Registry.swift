internal import NodeCore
internal import Transport

/// The registry: the same agents as workers that register, live and have something to do.
extension API {
    private static let nameOfAgent = Endpoint.Parameter(
        name: "name", place: .path, schema: .name, isRequired: true,
        about: "The agent's name, which is its id; a slash comes as `%2F`.")
    private static let byCapability = Endpoint.Parameter(
        name: "capability", schema: .text(),
        about: "Only agents that have this capability, or a manifest's resource of that name.")

    static let registry: [Endpoint] = [
        Endpoint(
            method: .post, path: "/api/registry/agents", tag: .registry, summary: "Register an agent",
            about:
                "Again, it registers anew: what the body names is replaced, what it does not name stays. Capabilities are "
                + "texts, or objects that name themselves (`name`) and are kept as they are.",
            body: Endpoint.Content(schema: .named("RegistrationDraft")),
            answers: [
                Endpoint.Answer(status: 200, about: "Registered anew.", schema: .named("Registration")),
                Endpoint.Answer(status: 201, about: "Registered.", schema: .named("Registration")), notYourself,
                Endpoint.Answer(status: 507, about: "There are as many agents as may be.", schema: refusal),
            ],
            make: { _, _, caller in .ask(.agents(.register, by: caller.asker)) }),
        Endpoint(
            method: .get, path: "/api/registry/agents", tag: .registry,
            summary: "Find agents by type, status and capability",
            about: "In the order of their names. All conditions have to hold.",
            parameters: [
                Endpoint.Parameter(name: "type", schema: .text(), about: "Only agents of this type."),
                Endpoint.Parameter(
                    name: "status", schema: .text(),
                    about: "Only agents with this status; `offline` are those without a sign of life, too."),
                byCapability,
                Endpoint.Parameter(
                    name: "after", schema: .text(), about: "Only agents whose names follow this one: the next page."),
                agentLimit,
            ],
            answers: [Endpoint.Answer(status: 200, about: "Registrations.", schema: .array(.named("Registration")))],
            make: findRegistered),
        Endpoint(
            method: .get, path: "/api/registry/agents/{name}", tag: .registry, summary: "One agent's registration",
            parameters: [nameOfAgent],
            answers: [
                Endpoint.Answer(status: 200, about: "The registration.", schema: .named("Registration")), unknownAgent,
            ],
            make: { path, _, caller in .ask(.agents(.registration(path["name"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .delete, path: "/api/registry/agents/{name}", tag: .registry, summary: "Retire an agent",
            about: "The same as deleting its manifest.", parameters: [nameOfAgent],
            answers: [Endpoint.Answer(status: 204, about: "It is gone."), notYourself, unknownAgent],
            make: { path, _, caller in .ask(.agents(.retire(path["name"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .post, path: "/api/registry/agents/{name}/heartbeat", tag: .registry, summary: "A sign of life",
            about:
                "Whoever was offline is active again. Written down every 10 s at most, so send it every 10 s to 100 s.",
            parameters: [nameOfAgent],
            answers: [
                Endpoint.Answer(status: 200, about: "The registration.", schema: .named("Registration")), notYourself,
                unknownAgent,
            ],
            make: { path, _, caller in .ask(.agents(.heartbeat(path["name"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .post, path: "/api/registry/agents/{name}/status", tag: .registry, summary: "Say how an agent is",
            parameters: [nameOfAgent],
            body: Endpoint.Content(
                schema: .object([.required("status", .text(choices: ["active", "idle", "busy", "offline"]))])),
            answers: [
                Endpoint.Answer(status: 200, about: "The registration.", schema: .named("Registration")), notYourself,
                unknownAgent,
            ],
            make: { path, _, caller in .ask(.agents(.setStatus(path["name"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .get, path: "/api/registry/least-busy", tag: .registry,
            summary: "The agent that has least to do",
            about:
                "Of those that are not offline: not busy before busy, then the fewest claimed tasks, direct messages that "
                + "wait, and direct messages at all. Of several that tie, rendezvous hashing of `key` chooses.",
            parameters: [
                byCapability,
                Endpoint.Parameter(
                    name: "key", schema: .text(),
                    about: "What the agent is wanted for: different keys spread over those that tie."),
            ],
            answers: [
                Endpoint.Answer(status: 200, about: "The agent, and what it has to do.", schema: .named("Load")),
                Endpoint.Answer(status: 404, about: "Nobody is there who could.", schema: refusal),
            ],
            make: { _, query, caller in
                .ask(.agents(.leastBusy(capability: query["capability"], key: query["key"]), by: caller.asker))
            }),
    ]

    private static func findRegistered(
        _ path: [String: String], _ query: Query, _ caller: Caller
    ) throws(BadQuery) -> Route {
        let limit = try query.page(default: Route.defaultLimit).limit
        return .ask(
            .agents(
                .registered(
                    type: query["type"], status: query["status"], capability: query["capability"],
                    after: query["after"], limit: limit), by: caller.asker))
    }
}
