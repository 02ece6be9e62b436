/// What is measured of chats.
extension NodeCore {
    func writeChatMetrics(into out: inout MetricsWriter) {
        out.gauge("chats", "Chats that exist.", chats.count)
        out.gauge("chat_messages", "Messages noted in chats, copies included.", chats.messageCount)
        out.counter("chat_messages_unfiled_total", "Messages of more chats or people than are noted.", chats.unfiled)
        out.counter("chat_messages_shown_total", "Messages shown on channels of members.", chatCounters.shown)
        out.counter("chat_after_removal_total", "Messages of senders removed elsewhere.", chatCounters.afterRemoval)
        out.counter("chat_forbidden_total", "Requests refused to those who may not.", chatCounters.forbidden)
        out.gauge("chat_marks_pending", "Members whose mark is to be written.", chats.pendingCount)
        out.counter("chat_marks_total", "Marks of what was delivered and read written.", chatCounters.marksWritten)
    }
}
