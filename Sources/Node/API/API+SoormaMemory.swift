internal import NodeCore
internal import Transport

/// What the memory service of Soorma keeps under names.
extension API {
    static let soormaMemory: [Endpoint] = []

    static let soormaMemorySchemas: [NamedSchema] = []
}
