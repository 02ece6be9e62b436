internal import NodeCore
internal import Transport

extension API {
    static let chats: [Endpoint] = []
    static let chatSchemas: [NamedSchema] = []
}
