package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// Long, as other tests keep the machine busy.
const wait = 20 * time.Second

// What an application does with Azure Service Bus. The bus is as service_bus.py says; every check that is given a queue has it to
// itself.
var checks = []struct {
	name string
	does func(bus *azservicebus.Client, queue string)
}{
	{"what is sent is peeked and received", whatIsSentIsPeekedAndReceived},
	{"every type and every body comes back", everyTypeComesBack},
	{"every settlement is applied", everySettlementIsApplied},
	{"a lock that ends gives the message back", aLockThatEndsGivesBack},
	{"scheduled messages come when they are due", scheduledMessagesComeWhenDue},
	{"sessions are held by one receiver", sessionsAreHeldByOneReceiver},
	{"a topic hands on to every subscription", aTopicHandsOn},
	{"batches arrive whole", batchesArriveWhole},
	{"what is missing is said to be", whatIsMissingIsSaid},
	{"a wrong key is refused", aWrongKeyIsRefused},
	{"over TLS it is the same", overTLSItIsTheSame},
}

func judge() {
	bus := client()
	var running sync.WaitGroup
	var lock sync.Mutex
	failed := 0
	for number, check := range checks {
		running.Go(func() {
			defer func() {
				if problem := recover(); problem != nil {
					lock.Lock()
					defer lock.Unlock()
					failed++
					fmt.Fprintf(os.Stderr, "%s: %v\n", check.name, problem)
				}
			}()
			check.does(bus, fmt.Sprintf("queue-%03d", number))
		})
	}
	running.Wait()
	done(bus.Close(within(wait)))
	if failed > 0 {
		os.Exit(1)
	}
	fmt.Printf("go: %d checks\n", len(checks))
}

func put(bus *azservicebus.Client, queue string, messages ...*azservicebus.Message) {
	sender := must(bus.NewSender(queue, nil))
	for _, message := range messages {
		done(sender.SendMessage(within(wait), message, nil))
	}
	done(sender.Close(within(wait)))
}

func message(text string) *azservicebus.Message {
	return &azservicebus.Message{Body: []byte(text)}
}

type receiver interface {
	ReceiveMessages(context.Context, int, *azservicebus.ReceiveMessagesOptions) ([]*azservicebus.ReceivedMessage, error)
}

func receive(from receiver, count int) []*azservicebus.ReceivedMessage {
	var received []*azservicebus.ReceivedMessage
	for len(received) < count {
		received = append(received, must(from.ReceiveMessages(within(wait), count-len(received), nil))...)
	}
	return received
}

func texts(messages []*azservicebus.ReceivedMessage) string {
	var texts []string
	for _, message := range messages {
		texts = append(texts, string(message.Body))
	}
	return strings.Join(texts, ",")
}

// From the first message on.
func peek(receiver *azservicebus.Receiver) []*azservicebus.ReceivedMessage {
	first := int64(1)
	from := azservicebus.PeekMessagesOptions{FromSequenceNumber: &first}
	return must(receiver.PeekMessages(within(wait), 100, &from))
}

func codeOf(err error) azservicebus.Code {
	var said *azservicebus.Error
	if errors.As(err, &said) {
		return said.Code
	}
	return azservicebus.Code(fmt.Sprint(err))
}

func whatIsSentIsPeekedAndReceived(bus *azservicebus.Client, queue string) {
	id, subject, content, correlation := "m-1", "order.created", "application/json", "c-1"
	hour := time.Hour
	put(bus, queue, &azservicebus.Message{
		Body:                  []byte(`{"total": 3}`),
		MessageID:             &id,
		Subject:               &subject,
		ContentType:           &content,
		CorrelationID:         &correlation,
		TimeToLive:            &hour,
		ApplicationProperties: map[string]any{"type": "order", "n": int64(5)},
	})
	receiver := must(bus.NewReceiverForQueue(queue, nil))
	peeked := peek(receiver)
	received := receive(receiver, 1)
	hold(len(peeked) == 1, "peeked %d", len(peeked))
	for _, seen := range []*azservicebus.ReceivedMessage{peeked[0], received[0]} {
		hold(string(seen.Body) == `{"total": 3}`, "body %s", seen.Body)
		hold(seen.MessageID == id && *seen.Subject == subject, "id %s, subject %s", seen.MessageID, *seen.Subject)
		hold(*seen.ContentType == content && *seen.CorrelationID == correlation, "%+v", seen)
		hold(seen.ApplicationProperties["type"] == "order", "%v", seen.ApplicationProperties)
		hold(seen.ApplicationProperties["n"] == int64(5), "%v", seen.ApplicationProperties)
		hold(seen.State == azservicebus.MessageStateActive, "state %d", seen.State)
		hold(*seen.TimeToLive == hour && seen.ExpiresAt.Sub(*seen.EnqueuedTime) == hour, "lives %s", seen.TimeToLive)
		age := time.Since(*seen.EnqueuedTime)
		hold(age > -time.Second && age < time.Minute, "enqueued %s ago", age)
	}
	hold(*peeked[0].SequenceNumber == *received[0].SequenceNumber, "two sequence numbers")
	hold(received[0].LockedUntil.After(time.Now()), "locked until %s", received[0].LockedUntil)
	done(receiver.CompleteMessage(within(wait), received[0], nil))
	hold(len(peek(receiver)) == 0, "it is still there")
}

func everyTypeComesBack(bus *azservicebus.Client, queue string) {
	send(queue)
	all := azservicebus.ReceiverOptions{ReceiveMode: azservicebus.ReceiveModeReceiveAndDelete}
	receiver := must(bus.NewReceiverForQueue(queue, &all))
	for _, seen := range receive(receiver, len(properties)+len(bodies)) {
		name := *seen.Subject
		if body, is := bodies[name]; is {
			hold(same(seen.RawAMQPMessage.Body, body), "%s: %v", name, seen.RawAMQPMessage.Body)
			continue
		}
		value := seen.ApplicationProperties["v"]
		hold(same(value, properties[name]), "%s: %T %v", name, value, value)
	}
}

// Whether they are the same once numbers have lost their width and times their zone, as AMQP has it.
func same(one, other any) bool {
	spelt := func(value any) string {
		if at, is := value.(time.Time); is {
			value = at.UTC()
		}
		return fmt.Sprint(value)
	}
	return reflect.DeepEqual(one, other) || spelt(one) == spelt(other)
}

func everySettlementIsApplied(bus *azservicebus.Client, queue string) {
	for _, text := range []string{"completed", "abandoned", "deferred", "dead-lettered", "renewed", "twice"} {
		put(bus, queue, message(text))
	}
	receiver := must(bus.NewReceiverForQueue(queue, nil))
	got := receive(receiver, 6)
	completed, abandoned, deferred, dead, renewed, twice := got[0], got[1], got[2], got[3], got[4], got[5]
	reason, why := "unreadable", "not JSON"
	done(receiver.CompleteMessage(within(wait), completed, nil))
	modified := azservicebus.AbandonMessageOptions{PropertiesToModify: map[string]any{"tries": int64(1)}}
	done(receiver.AbandonMessage(within(wait), abandoned, &modified))
	done(receiver.DeferMessage(within(wait), deferred, nil))
	done(receiver.DeferMessage(within(wait), twice, nil))
	done(receiver.DeadLetterMessage(within(wait), dead, &azservicebus.DeadLetterOptions{Reason: &reason, ErrorDescription: &why}))
	before := *renewed.LockedUntil
	time.Sleep(20 * time.Millisecond)
	done(receiver.RenewMessageLock(within(wait), renewed, nil))
	hold(renewed.LockedUntil.After(before), "renewed from %s to %s", before, renewed.LockedUntil)

	states := map[string]azservicebus.MessageState{}
	for _, seen := range peek(receiver) {
		states[string(seen.Body)] = seen.State
	}
	hold(len(states) == 4 && states["deferred"] == azservicebus.MessageStateDeferred, "%v", states)
	hold(states["abandoned"] == azservicebus.MessageStateActive, "%v", states)
	done(receiver.CompleteMessage(within(wait), renewed, nil))

	again := receive(receiver, 1)[0]
	hold(string(again.Body) == "abandoned" && again.DeliveryCount == 2, "%s, delivery %d", again.Body, again.DeliveryCount)
	hold(again.ApplicationProperties["tries"] == int64(1), "%v", again.ApplicationProperties)
	done(receiver.CompleteMessage(within(wait), again, nil))

	// Settled by the token that the message itself says, as no delivery has it.
	numbers := []int64{*deferred.SequenceNumber, *twice.SequenceNumber}
	found := must(receiver.ReceiveDeferredMessages(within(wait), numbers, nil))
	hold(texts(found) == "deferred,twice", "%s", texts(found))
	done(receiver.CompleteMessage(within(wait), found[0], nil))
	done(receiver.DeferMessage(within(wait), found[1], nil))
	found = must(receiver.ReceiveDeferredMessages(within(wait), numbers[1:], nil))
	done(receiver.DeadLetterMessage(within(wait), found[0], &azservicebus.DeadLetterOptions{Reason: &reason}))
	hold(len(peek(receiver)) == 0, "something is left")

	buried := must(bus.NewReceiverForQueue(queue, &azservicebus.ReceiverOptions{SubQueue: azservicebus.SubQueueDeadLetter}))
	letters := receive(buried, 2)
	hold(texts(letters) == "dead-lettered,twice", "%s", texts(letters))
	hold(*letters[0].DeadLetterReason == reason && *letters[0].DeadLetterErrorDescription == why, "%+v", letters[0])
	for _, letter := range letters {
		done(buried.CompleteMessage(within(wait), letter, nil))
	}
}

func aLockThatEndsGivesBack(bus *azservicebus.Client, _ string) {
	put(bus, "short", message("slow"))
	receiver := must(bus.NewReceiverForQueue("short", nil))
	first, second := receive(receiver, 1)[0], receive(receiver, 1)[0]
	err := receiver.CompleteMessage(within(wait), first, nil)
	hold(codeOf(err) == azservicebus.CodeLockLost, "a lost lock still settles: %v", err)
	hold(second.DeliveryCount == 2, "delivery %d", second.DeliveryCount)
	done(receiver.CompleteMessage(within(wait), second, nil))
}

func scheduledMessagesComeWhenDue(bus *azservicebus.Client, queue string) {
	sender := must(bus.NewSender(queue, nil))
	later := time.Now().Add(time.Hour)
	scheduled := []*azservicebus.Message{message("later"), message("cancelled")}
	numbers := must(sender.ScheduleMessages(within(wait), scheduled, later, nil))
	done(sender.CancelScheduledMessages(within(wait), numbers[1:], nil))
	annotated := message("annotated")
	annotated.ScheduledEnqueueTime = &later
	done(sender.SendMessage(within(wait), annotated, nil))
	receiver := must(bus.NewReceiverForQueue(queue, nil))
	peeked := peek(receiver)
	hold(texts(peeked) == "later,annotated", "%s", texts(peeked))
	hold(peeked[1].State == azservicebus.MessageStateScheduled, "state %d", peeked[1].State)
	due := time.Now().Add(time.Second)
	must(sender.ScheduleMessages(within(wait), []*azservicebus.Message{message("due")}, due, nil))
	came := receive(receiver, 1)[0]
	hold(string(came.Body) == "due" && time.Now().After(due.Add(-50*time.Millisecond)), "%s came too soon", came.Body)
	done(receiver.CompleteMessage(within(wait), came, nil))
}

func sessionsAreHeldByOneReceiver(bus *azservicebus.Client, _ string) {
	_, err := bus.AcceptNextSessionForQueue(within(time.Second), "sessions", nil)
	hold(err != nil, "there is a session")
	for number := range 3 {
		for _, session := range []string{"a", "b"} {
			sent := message(fmt.Sprint(session, number))
			sent.SessionID = &session
			put(bus, "sessions", sent)
		}
	}
	held := must(bus.AcceptSessionForQueue(within(wait), "sessions", "b", nil))
	hold(held.SessionID() == "b" && held.LockedUntil().After(time.Now()), "%s until %s", held.SessionID(), held.LockedUntil())
	// The SDK does not say of which session.
	peeked := must(held.PeekMessages(within(wait), 10, nil))
	hold(strings.Contains(texts(peeked), "b0"), "peeked %s", texts(peeked))
	received := receive(held, 3)
	hold(texts(received) == "b0,b1,b2", "%s", texts(received))
	hold(*received[0].SessionID == "b", "of session %s", *received[0].SessionID)
	done(held.SetSessionState(within(wait), []byte("half way"), nil))
	hold(string(must(held.GetSessionState(within(wait), nil))) == "half way", "another state")
	done(held.RenewSessionLock(within(wait), nil))
	_, err = bus.AcceptSessionForQueue(within(wait), "sessions", "b", nil)
	hold(strings.Contains(fmt.Sprint(err), "session-cannot-be-locked"), "a session is held twice: %v", err)

	other := must(bus.AcceptNextSessionForQueue(within(wait), "sessions", nil))
	hold(other.SessionID() == "a", "the next is %s", other.SessionID())
	for _, came := range receive(other, 3) {
		done(other.CompleteMessage(within(wait), came, nil))
	}
	done(other.Close(within(wait)))
	done(held.DeferMessage(within(wait), received[0], nil))
	found := must(held.ReceiveDeferredMessages(within(wait), []int64{*received[0].SequenceNumber}, nil))
	for _, came := range append(found, received[1:]...) {
		done(held.CompleteMessage(within(wait), came, nil))
	}
	done(held.Close(within(wait)))
}

func aTopicHandsOn(bus *azservicebus.Client, _ string) {
	put(bus, "events", message("one"), message("two"))
	for _, name := range []string{"billing", "audit"} {
		receiver := must(bus.NewReceiverForSubscription("events", name, nil))
		received := receive(receiver, 2)
		hold(texts(received) == "one,two", "%s: %s", name, texts(received))
		for _, came := range received {
			done(receiver.CompleteMessage(within(wait), came, nil))
		}
	}
}

func batchesArriveWhole(bus *azservicebus.Client, queue string) {
	sender := must(bus.NewSender(queue, nil))
	batch := must(sender.NewMessageBatch(within(wait), nil))
	for number := range 500 {
		done(batch.AddMessage(message(fmt.Sprint(number)), nil))
	}
	done(sender.SendMessageBatch(within(wait), batch, nil))
	long := strings.Repeat("x", 200_000)
	put(bus, queue, message(long))
	all := azservicebus.ReceiverOptions{ReceiveMode: azservicebus.ReceiveModeReceiveAndDelete}
	received := receive(must(bus.NewReceiverForQueue(queue, &all)), 501)
	hold(string(received[499].Body) == "499" && string(received[500].Body) == long, "in another order")
}

func whatIsMissingIsSaid(bus *azservicebus.Client, _ string) {
	receiver := must(bus.NewReceiverForQueue("missing", nil))
	_, err := receiver.PeekMessages(within(wait), 1, nil)
	hold(strings.Contains(fmt.Sprint(err), "amqp:not-found"), "%v", err)
	sender := must(bus.NewSender("missing", nil))
	err = sender.SendMessage(within(wait), message("lost"), nil)
	hold(strings.Contains(fmt.Sprint(err), "amqp:not-found"), "%v", err)
}

func aWrongKeyIsRefused(_ *azservicebus.Client, queue string) {
	key := strings.Replace(connectionString, "SharedAccessKey=", "SharedAccessKey=wrong", 1)
	bus := must(azservicebus.NewClientFromConnectionString(key, &options))
	receiver := must(bus.NewReceiverForQueue(queue, nil))
	_, err := receiver.PeekMessages(within(wait), 1, nil)
	hold(codeOf(err) == azservicebus.CodeUnauthorizedAccess, "%v", err)
}

func overTLSItIsTheSame(bus *azservicebus.Client, queue string) {
	put(bus, queue, message("seen"))
	secure := secureClient()
	hold(texts(peek(must(secure.NewReceiverForQueue(queue, nil)))) == "seen", "nothing is seen")
	done(secure.Close(within(wait)))
}
