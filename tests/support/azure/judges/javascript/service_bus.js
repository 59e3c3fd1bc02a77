// Judges the stand-in: what an application does with Azure Service Bus, through Microsoft's SDK. The bus is as service_bus.py says.

const assert = require("node:assert/strict");
const { ServiceBusAdministrationClient, ServiceBusClient } = require("@azure/service-bus");
const WebSocket = require("ws");

const CONNECTION_STRING = process.env.CONNECTION_STRING;
const WAIT = { maxWaitTimeInMs: 2000 };
// The first error rather than the last of many.
const OPTIONS = { retryOptions: { maxRetries: 0, timeoutInMs: 10_000 } };

const bodies = (messages) => messages.map((message) => message.body);

async function send(bus, queue, ...messages) {
  const sender = bus.createSender(queue);
  await sender.sendMessages(messages.map((message) => (typeof message === "string" ? { body: message } : message)));
  await sender.close();
}

async function receive(receiver, count) {
  const received = [];
  while (received.length < count) {
    const messages = await receiver.receiveMessages(count - received.length, WAIT);
    assert.notEqual(messages.length, 0, `only ${received.length} messages came`);
    received.push(...messages);
  }
  return received;
}

async function empty(bus, queue) {
  const receiver = bus.createReceiver(queue, { receiveMode: "receiveAndDelete" });
  while ((await receiver.receiveMessages(100, { maxWaitTimeInMs: 300 })).length > 0);
  await receiver.close();
}

const CHECKS = {
  async whatIsSentIsPeekedAndReceived(bus) {
    await send(bus, "orders", {
      body: { total: 3 },
      messageId: "m-1",
      subject: "order.created",
      contentType: "application/json",
      correlationId: "c-1",
      applicationProperties: { type: "order", n: 5, urgent: true },
      timeToLive: 3_600_000,
    });
    const receiver = bus.createReceiver("orders");
    const [peeked] = await receiver.peekMessages(10);
    const [received] = await receive(receiver, 1);
    for (const seen of [peeked, received]) {
      assert.deepEqual(seen.body, { total: 3 });
      assert.deepEqual([seen.messageId, seen.subject, seen.contentType], ["m-1", "order.created", "application/json"]);
      assert.deepEqual(seen.applicationProperties, { type: "order", n: 5, urgent: true });
      assert.equal(seen.correlationId, "c-1");
      assert.equal(seen.state, "active");
      assert.equal(seen.timeToLive, 3_600_000);
      assert.equal(seen.expiresAtUtc - seen.enqueuedTimeUtc, 3_600_000);
    }
    assert.equal(peeked.sequenceNumber.toString(), received.sequenceNumber.toString());
    assert.equal(received.deliveryCount, 0);
    assert.ok(received.lockedUntilUtc > new Date());
    await receiver.completeMessage(received);
    assert.equal((await receiver.receiveMessages(1, { maxWaitTimeInMs: 500 })).length, 0);
  },

  async everySettlementIsApplied(bus) {
    await send(bus, "orders", "completed", "abandoned", "deferred", "dead-lettered", "renewed");
    const receiver = bus.createReceiver("orders");
    const [completed, abandoned, deferred, dead, renewed] = await receive(receiver, 5);
    await receiver.completeMessage(completed);
    await receiver.abandonMessage(abandoned, { kind: "given back", tries: 1 });
    await receiver.deferMessage(deferred);
    await receiver.deadLetterMessage(dead, { deadLetterReason: "unreadable", deadLetterErrorDescription: "not JSON" });
    assert.ok((await receiver.renewMessageLock(renewed)) > new Date());
    const states = (await receiver.peekMessages(10)).map((message) => [message.body, message.state, message.deliveryCount]);
    assert.deepEqual(states, [["abandoned", "active", 1], ["deferred", "deferred", 1], ["renewed", "active", 1]]);
    await receiver.completeMessage(renewed);
    const [again] = await receive(receiver, 1);
    assert.deepEqual([again.body, again.deliveryCount], ["abandoned", 1]);
    assert.deepEqual(again.applicationProperties, { kind: "given back", tries: 1 });
    await receiver.completeMessage(again);
    const [found] = await receiver.receiveDeferredMessages([deferred.sequenceNumber]);
    assert.equal(found.body, "deferred");
    await receiver.completeMessage(found);
    const dead_letters = bus.createReceiver("orders", { subQueueType: "deadLetter" });
    const [buried] = await receive(dead_letters, 1);
    assert.deepEqual([buried.deadLetterReason, buried.deadLetterErrorDescription], ["unreadable", "not JSON"]);
    await dead_letters.completeMessage(buried);
  },

  async scheduledMessagesComeWhenTheyAreDue(bus) {
    const sender = bus.createSender("orders");
    const receiver = bus.createReceiver("orders");
    const due = new Date(Date.now() + 1_500);
    const numbers = await sender.scheduleMessages([{ body: "due" }, { body: "cancelled" }], due);
    await sender.cancelScheduledMessages(numbers[1]);
    const peeked = await receiver.peekMessages(10, { fromSequenceNumber: numbers[0] });
    assert.deepEqual(peeked.map((message) => [message.body, message.state]), [["due", "scheduled"]]);
    const [received] = await receive(receiver, 1);
    assert.equal(received.body, "due");
    assert.ok(new Date() >= due);
    await receiver.completeMessage(received);
  },

  async aSubscriptionOfMessagesSettlesByItself(bus) {
    await send(bus, "orders", ...Array.from({ length: 50 }, (_, n) => `${n}`));
    const receiver = bus.createReceiver("orders");
    const seen = [];
    await new Promise((resolve, reject) => {
      receiver.subscribe({
        async processMessage(message) {
          seen.push(message.body);
          if (seen.length === 50) resolve();
        },
        async processError({ error }) {
          reject(error);
        },
      });
    });
    await receiver.close();
    assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: 50 }, (_, n) => `${n}`));
    assert.equal((await bus.createReceiver("orders").peekMessages(10)).length, 0);
  },

  async sessionsAreHeldByOneReceiver(bus) {
    for (const sessionId of ["a", "b"]) await send(bus, "sessions", { body: `${sessionId}0`, sessionId }, { body: `${sessionId}1`, sessionId });
    await assert.rejects(send(bus, "sessions", "none"));
    const held = await bus.acceptSession("sessions", "b");
    assert.deepEqual(bodies(await receive(held, 2)), ["b0", "b1"]);
    assert.deepEqual(bodies(await held.peekMessages(10)), ["b0", "b1"]);
    await held.setSessionState({ half: "way" });
    assert.deepEqual(await held.getSessionState(), { half: "way" });
    assert.ok((await held.renewSessionLock()) > new Date());
    await assert.rejects(bus.acceptSession("sessions", "b"), { code: "SessionCannotBeLocked" });
    const other = await bus.acceptNextSession("sessions", { receiveMode: "receiveAndDelete" });
    assert.equal(other.sessionId, "a");
    assert.deepEqual(bodies(await receive(other, 2)), ["a0", "a1"]);
    await held.close();
    const freed = await bus.acceptNextSession("sessions", { receiveMode: "receiveAndDelete" });
    assert.equal(freed.sessionId, "b");
    assert.deepEqual(bodies(await receive(freed, 2)), ["b0", "b1"]);
    const soon = new ServiceBusClient(CONNECTION_STRING, { retryOptions: { maxRetries: 0, timeoutInMs: 1_000 } });
    await assert.rejects(soon.acceptNextSession("sessions"), { code: "ServiceTimeout" });
    await soon.close();
  },

  async aTopicHandsOnToEverySubscription(bus) {
    await send(bus, "events", "one", "two");
    for (const name of ["billing", "audit"]) {
      const receiver = bus.createReceiver("events", name, { receiveMode: "receiveAndDelete" });
      assert.deepEqual(bodies(await receive(receiver, 2)), ["one", "two"]);
    }
  },

  async whatIsMissingIsSaidToBe(bus) {
    await assert.rejects(bus.createReceiver("missing").receiveMessages(1, WAIT), { code: "MessagingEntityNotFound" });
    await assert.rejects(send(bus, "missing", "x"), { code: "MessagingEntityNotFound" });
  },

  async aWrongKeyIsRefused() {
    const bus = new ServiceBusClient(CONNECTION_STRING.replace("SharedAccessKey=", "SharedAccessKey=wrong"), OPTIONS);
    await assert.rejects(bus.createReceiver("orders").peekMessages(1), { code: "UnauthorizedAccess" });
    await bus.close();
  },

  async overAWebSocketWithTlsItIsTheSame(bus) {
    await send(bus, "orders", "seen");
    // Without the emulator's word the SDK takes its own port for AMQP, and the endpoint's for a WebSocket.
    const secure = new ServiceBusClient(CONNECTION_STRING.replace("UseDevelopmentEmulator=true;", ""), {
      ...OPTIONS,
      webSocketOptions: { webSocket: WebSocket },
    });
    assert.deepEqual(bodies(await secure.createReceiver("orders").peekMessages(1)), ["seen"]);
    await secure.close();
    await empty(bus, "orders");
  },

  async theAdministrationClientReadsCounts(bus) {
    await send(bus, "orders", "1", "2", { body: "3", scheduledEnqueueTimeUtc: new Date(Date.now() + 3_600_000) });
    // The SDK asks over HTTPS, even of the emulator.
    const administration = new ServiceBusAdministrationClient(CONNECTION_STRING);
    const counts = await administration.getQueueRuntimeProperties("orders");
    assert.deepEqual(
      [counts.activeMessageCount, counts.scheduledMessageCount, counts.deadLetterMessageCount, counts.totalMessageCount],
      [2, 1, 0, 3],
    );
    assert.equal((await administration.getQueue("sessions")).requiresSession, true);
    assert.equal((await administration.getSubscriptionRuntimeProperties("events", "billing")).activeMessageCount, 0);
    assert.equal((await administration.getTopicRuntimeProperties("events")).subscriptionCount, 2);
    const queues = [];
    for await (const queue of administration.listQueues()) queues.push(queue.name);
    assert.equal(queues.length, 124);
    await assert.rejects(administration.getQueue("missing"), { code: "MessageEntityNotFoundError" });
    await assert.rejects(administration.getSubscription("events", "missing"), { code: "MessageEntityNotFoundError" });
    await empty(bus, "orders");
  },
};

async function main() {
  for (const [name, check] of Object.entries(CHECKS)) {
    const bus = new ServiceBusClient(CONNECTION_STRING, OPTIONS);
    const started = Date.now();
    try {
      await check(bus);
    } catch (error) {
      console.error(`${name}:`);
      throw error;
    }
    console.log(`${name}: ${(Date.now() - started) / 1000} s`);
    await bus.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
