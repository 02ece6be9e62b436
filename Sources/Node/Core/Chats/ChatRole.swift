/// What a member of a chat may do (docs/chats.md has the table).
enum ChatRole: String, CaseIterable, Sendable {
    case guest, member, admin, owner
}
