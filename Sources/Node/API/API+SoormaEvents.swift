internal import NodeCore
internal import Transport

/// The event service of Soorma: publishing, and streams that share events among the clients of one agent name.
extension API {
    static let soormaEvents: [Endpoint] = [publishEnvelope, streamEnvelopes]

    private static let publishEnvelope = Endpoint(
        method: .post, path: "/v1/events/publish", tag: .soormaEvents, summary: "Publish an event",
        about: """
            The event becomes a bus event on one of Soorma's eight topics. Members may be written in camel case; those that \
            are null are left out. The same id again is the same event.
            """,
        body: Content(schema: .object([.required("event", .named("SoormaEvent"))])),
        answers: [
            .ok(
                "It is published.",
                .object([
                    .required("success", .boolean()), .required("event_id", .text()), .required("message", .text()),
                ]))
        ], make: { _, _, _ in .ask(.soorma(.events(.publish))) })

    private static let streamEnvelopes = Endpoint(
        method: .get, path: "/v1/events/stream", tag: .soormaEvents, summary: "Take part in an agent's events",
        about: """
            Server-Sent Events: `connected`, then each event as `message`, `heartbeat` every 15 seconds, `disconnected` when \
            the node leaves. Of all streams of one agent name in the cluster, one gets each event.
            """,
        parameters: [
            .query(
                "topics", .text(), "Topics or patterns of them, with commas between them.", isRequired: true),
            .query("agent_id", .name, "Who listens.", isRequired: true),
            .query("agent_name", .text(), "Whose events it shares; `agent_id` by default."),
        ],
        answers: [Answer(status: 200, about: "The stream.", schema: .text(), type: "text/event-stream")],
        make: { _, query, _ in
            let topics = (query["topics"] ?? "").split(separator: ",").map { part in
                String(part.drop { $0 == " " })
            }
            guard (1...64).contains(topics.count) else {
                throw BadQuery(
                    message: "query parameter topics: required, 1 to 64 topics with commas between them, as in "
                        + "action-requests,action-results")
            }
            func name(_ parameter: String) throws(BadQuery) -> String? {
                guard let name = query[parameter], !name.isEmpty else { return nil }
                guard name.utf8.count <= 1_024 else {
                    throw BadQuery(message: "query parameter \(parameter): expected at most 1024 bytes")
                }
                return name
            }
            guard let agent = try name("agent_id") else {
                throw BadQuery(message: "query parameter agent_id: required, who listens")
            }
            let request = EventServiceRequest.stream(
                topics: topics, agentID: agent, agentName: try name("agent_name"))
            return .ask(.soorma(.events(request)))
        })

    static let soormaEventSchemas: [NamedSchema] = [
        NamedSchema(
            name: "SoormaEvent",
            schema: .object([
                .orNull("id", .name, "A UUID, best chosen by the publisher."), .required("source", .name),
                .required("type", .name),
                .required("topic", .text(choices: NodeCore.soormaTopics)), .orNull("specversion", .text()),
                .orNull("time", .text()), .orNull("data", .object([])), .orNull("correlation_id", .name),
                .orNull("subject", .text()), .orNull("response_event", .name), .orNull("response_topic", .name),
                .orNull("response_schema_name", .text()), .orNull("trace_id", .text()),
                .orNull("parent_event_id", .text()), .orNull("payload_schema_name", .text()),
                .orNull("tenant_id", .text()), .orNull("user_id", .text()), .orNull("session_id", .text()),
                .orNull("goal_id", .text()), .orNull("plan_id", .text()),
            ]))
    ]
}
