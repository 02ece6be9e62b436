internal import NodeCore
internal import Transport

/// Queue groups: of all consumers, one gets each event.
extension API {
    static let groups: [Endpoint] = [listGroups, oneGroup, deleteGroup, ack, nack]

    private static let name = Parameter.path("name", .text(length: 1...128), "The group's name.")
    private static let unknown = Answer.refusal(404, "There is no such group.")

    private static let listGroups = Endpoint(
        method: .get, path: "/api/groups", tag: .groups, summary: "The queue groups",
        about: "Options, consumers and counts of each; counts of what was done are this node's own since it started.",
        answers: [
            .ok(
                "The groups.",
                .object([
                    .required("groups", .array(.named("Group"))),
                    .required("reachable", .count, "Members that are alive."), .required("members", .count),
                ]))
        ], headers: ["Hypha-Reachable"], make: { _, _, _ in .ask(.groups) })

    private static let oneGroup = Endpoint(
        method: .get, path: "/api/groups/{name}", tag: .groups, summary: "One queue group",
        about: "Also its consumers, and for each log who decides and how far the group is.", parameters: [name],
        answers: [.ok("The group.", .named("Group")), unknown],
        make: { path, _, _ in .ask(.groupNamed(path["name"] ?? "")) })

    private static let deleteGroup = Endpoint(
        method: .delete, path: "/api/groups/{name}", tag: .groups, summary: "Delete a queue group",
        about: "Its consumers leave; one of that name made later starts anew.", parameters: [name],
        answers: [.noContent("It is gone."), unknown],
        make: { path, _, _ in .ask(.deleteGroup(path["name"] ?? "")) })

    private static let ack = Endpoint(
        method: .post, path: "/api/groups/{name}/ack", tag: .groups, summary: "Events are done",
        about: "At any node, whichever handed them out.", parameters: [name], body: Content(schema: .named("EventIDs")),
        answers: [.ok("What was settled.", .named("Settled")), unknown],
        make: { path, _, _ in .ask(.ackGroup(path["name"] ?? "")) })

    private static let nack = Endpoint(
        method: .post, path: "/api/groups/{name}/nack", tag: .groups, summary: "Events could not be done",
        about: "They go to another consumer, or the same, at once or after `delay_ms`.", parameters: [name],
        body: Content(
            schema: .anyOf([
                .object(oneID + [delay]), .object(manyIDs + [delay]),
            ])),
        answers: [.ok("What was given back.", .named("Settled")), unknown],
        make: { path, _, _ in .ask(.nackGroup(path["name"] ?? "")) })

    private static let oneID: [Schema.Property] = [.required("id", .uuid, "The event's id.")]
    private static let manyIDs: [Schema.Property] = [.required("ids", .array(.uuid, length: 1...9_999))]
    private static let delay = Schema.Property.maybe("delay_ms", .integer(0...86_400_000), "When to try again.")

    static let groupSchemas: [NamedSchema] = [
        NamedSchema(name: "EventIDs", schema: .anyOf([.object(oneID), .object(manyIDs)])),
        NamedSchema(
            name: "Settled",
            schema: .object([
                .maybe("acked", .count), .maybe("nacked", .count),
                .required("unknown", .array(.uuid), "Ids that were not handed out."),
            ])),
        NamedSchema(
            name: "Group",
            schema: .object([
                .required("group", .text(), "Its name."), .required("filter", .object([])),
                .required("ack_deadline_ms", .count), .required("max_attempts", .count),
                .required("dead_letter_topic", .text()),
                .required("takeover", .text(choices: ["afterDead", "majorityOnly", "never"])),
                .required("sharing", .text(choices: ["nearest", "even", "related"])), .maybe("created", .time),
                .required("consumers", .count), .required("open", .count, "Handed out by the cluster and not settled."),
                .required("in_flight", .count), .required("pending", .count),
                .required("has_more", .boolean(), "More may wait in the log."), .required("delivered", .count),
                .required("acked", .count), .required("redelivered", .count), .required("dead_lettered", .count),
                .maybe("sessions", .array(.named("Consumer"))), .maybe("logs", .array(.named("GroupProgress"))),
            ])),
        NamedSchema(
            name: "Consumer",
            schema: .object([
                .required("node", .text()), .required("replica", .text()), .required("session", .count),
                .required("max_in_flight", .count), .required("in_flight", .count),
            ])),
        NamedSchema(
            name: "GroupProgress",
            schema: .object([
                .required("log", .text()), .maybe("decider", .text(), "The node that decides who gets its events."),
                .required("through", .count, "Everything up to there is settled, but for what is open."),
                .required("open", .count),
            ])),
    ]
}
