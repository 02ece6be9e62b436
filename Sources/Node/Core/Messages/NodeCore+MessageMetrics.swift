/// What is measured of direct messages, mailboxes and requests that wait for replies.
extension NodeCore {
    func writeMessageMetrics(into out: inout MetricsWriter) {
        let count = messageCounters
        out.gauge("mailboxes", "Mailboxes that are open.", mailboxes.openCount)
        out.counter("mailboxes_refused_total", "Mailboxes not opened at the bound.", count.refusedMailboxes)
        out.gauge("mailbox_agents", "Agents that have sent or been sent a message.", mailboxes.agentCount)
        out.gauge("messages_waiting", "Messages that may wait in mailboxes.", mailboxes.waitingCount)
        out.counter("messages_shown_total", "Messages sent to connected receivers.", count.shown)
        out.counter("messages_taken_total", "Messages taken by clients of this node.", count.taken)
        out.counter("messages_dropped_total", "Messages dropped from full mailboxes.", count.dropped)
        out.counter("messages_forgotten_total", "Messages forgotten here at twice the bound.", mailboxes.forgotten)
        out.counter("messages_unfiled_total", "Messages for more agents than are noted.", mailboxes.unfiled)
        out.gauge("takes_waiting", "Takings that wait for another node.", takes.count)
        out.counter("takes_asked_total", "Takings that had to ask another node.", count.takesAsked)
        out.counter("take_timeouts_total", "Of them, those in vain.", count.takeTimeouts)
        out.gauge("grants", "Takings of peers that messages are set aside for.", grants.count)
        out.counter("mailbox_frames_bad_total", "Frames about mailboxes not understood.", count.badFrames)
        out.gauge("reply_waiting", "Requests that wait for their reply.", replies.count)
        out.counter("reply_waits_total", "Requests that waited for their reply.", replies.added)
        out.counter("reply_timeouts_total", "Of them, those in vain.", replies.timeouts)
        out.counter("reply_refused_total", "Requests refused as too many waited.", replies.refused)
    }
}
