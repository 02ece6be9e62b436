internal import NodeCore
internal import Transport

/// SEMP's graph: nodes with edges, as documents in which the last writer of each field wins.
extension API {
    static let graph: [Endpoint] = [listNodes, postNode, oneNode, patchNode, deleteNode, postEdge, deleteEdges]

    private static let id = Parameter.path("id", .uuid, "The graph node's id.")
    private static let unknown = Answer.refusal(404, "No such graph node exists here.")

    private static let listNodes = Endpoint(
        method: .get, path: "/api/nodes", tag: .graph, summary: "The graph's nodes", about: "The newest first.",
        parameters: [.limit(default: Route.defaultLimit)],
        answers: [.ok("The nodes.", .array(.named("GraphNode")))],
        make: { _, query, _ in .ask(.nodes(limit: try query.page(default: Route.defaultLimit).limit)) })

    private static let postNode = Endpoint(
        method: .post, path: "/api/nodes", tag: .graph, summary: "Make a graph node",
        about: "With an `id` of your own it may be sent again.", body: Content(schema: .named("NewGraphNode")),
        answers: [
            .created("The node.", .named("GraphNode")),
            .ok("It is there already, just like this.", .named("GraphNode")),
            .refusal(409, "It is there with another content, or `ack` asks for more nodes than there are."),
        ], make: { _, _, _ in .ask(.postNode) })

    private static let oneNode = Endpoint(
        method: .get, path: "/api/nodes/{id}", tag: .graph, summary: "One graph node", parameters: [id],
        answers: [.ok("The node with its edges.", .named("GraphNode")), unknown],
        make: { path, _, _ in .ask(.node(id: path["id"] ?? "")) })

    private static let patchNode = Endpoint(
        method: .patch, path: "/api/nodes/{id}", tag: .graph, summary: "Change a graph node",
        about: """
            A merge patch (RFC 7396) of the type and the data: null removes a member, an object is merged into the one \
            that is there. Changes of different members at two sides of a partition both stay.
            """,
        parameters: [id], body: Content(schema: .named("GraphPatch")),
        answers: [.ok("The node as it is now.", .named("GraphNode")), unknown],
        make: { path, _, _ in .ask(.patchNode(id: path["id"] ?? "")) })

    private static let deleteNode = Endpoint(
        method: .delete, path: "/api/nodes/{id}", tag: .graph, summary: "Remove a graph node",
        about: "Edges to it stay where they are.", parameters: [id], answers: [.noContent("It is gone."), unknown],
        make: { path, _, _ in .ask(.deleteNode(id: path["id"] ?? "")) })

    private static let postEdge = Endpoint(
        method: .post, path: "/api/nodes/{id}/edges", tag: .graph, summary: "Add an edge",
        about: "One that is there already is not written again. Its target need not be known here.", parameters: [id],
        body: Content(schema: .named("Edge")),
        answers: [.created("The node with its edges.", .named("GraphNode")), unknown],
        make: { path, _, _ in .ask(.postEdge(node: path["id"] ?? "")) })

    private static let deleteEdges = Endpoint(
        method: .delete, path: "/api/nodes/{id}/edges/{target}", tag: .graph, summary: "Remove edges",
        about: "Those of one type, or all that lead to the target.",
        parameters: [
            id, .path("target", .uuid, "The node that they lead to."),
            .query("type", .text(), "Only edges of this type."),
        ],
        answers: [.noContent("They are gone."), .refusal(404, "There is no such node or edge here.")],
        make: { path, query, _ in
            .ask(.deleteEdges(node: path["id"] ?? "", to: path["target"] ?? "", type: query["type"]))
        })

    static let graphSchemas: [NamedSchema] = [
        NamedSchema(
            name: "NewGraphNode",
            schema: .object([
                .required("type", .name), .maybe("data", .object([]), "At most 4,000 members."),
                .maybe("id", .uuid, "Your own, else one is made."),
            ])),
        NamedSchema(
            name: "GraphPatch",
            schema: .object([.maybe("type", .name), .maybe("data", .optional(.object([])))], isOpen: false)),
        NamedSchema(
            name: "GraphNode",
            schema: .object([
                .required("id", .uuid), .required("type", .name), .required("data", .object([])),
                .required("edges", .array(.named("Edge"))),
            ])),
        NamedSchema(name: "Edge", schema: .object([.required("to", .uuid), .required("type", .name)])),
    ]
}
