/// What a member of a chat may do (docs/chats.md has the table). A higher role may all that a lower one may.
enum ChatRole: String, CaseIterable, Comparable, Sendable {
    case guest, member, admin, owner

    private var rank: Int {
        switch self {
        case .guest: 0
        case .member: 1
        case .admin: 2
        case .owner: 3
        }
    }

    static func < (a: Self, b: Self) -> Bool { a.rank < b.rank }

    /// All words, for messages.
    static let expected = "one of " + allCases.map(\.rawValue).joined(separator: ", ")

    /// Whether it may do this in a chat into which members may bring others, or may not.
    func may(_ action: ChatAction, join: ChatJoin) -> Bool {
        switch action {
        case .read, .write: true
        case .invite: self >= (join == .open ? .member : .admin)
        case .remove, .setRole, .edit, .seeRemoved: self >= .admin
        case .delete, .handOver: self == .owner
        }
    }
}

/// What is done in a chat.
enum ChatAction: String, CaseIterable, Sendable {
    case read, write, invite, remove
    /// Give a member another role, up to admin.
    case setRole
    /// Change the topic, and who may join.
    case edit
    case delete
    /// Make another member the owner.
    case handOver
    /// See what was said by those who had been removed.
    case seeRemoved

    /// In words, behind "may not".
    var phrase: String {
        switch self {
        case .read: "read there"
        case .write: "write there"
        case .invite: "bring in others"
        case .remove: "remove members"
        case .setRole: "change roles"
        case .edit: "change the chat"
        case .delete: "delete the chat"
        case .handOver: "make somebody else the owner"
        case .seeRemoved: "see what was said after a removal"
        }
    }
}

/// Who may come into a chat by itself.
enum ChatJoin: String, CaseIterable, Sendable {
    /// Any agent, and members may bring in others.
    case open
    /// Whom an admin brings in.
    case invite
}

/// What kind of chat it is.
enum ChatType: String, CaseIterable, Sendable {
    /// Of just two agents.
    case `private`
    case group
}
