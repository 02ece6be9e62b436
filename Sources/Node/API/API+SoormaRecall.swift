internal import NodeCore
internal import Transport

/// What the memory service of Soorma searches.
extension API {
    static let soormaRecall: [Endpoint] = []

    static let soormaRecallSchemas: [NamedSchema] = []
}
