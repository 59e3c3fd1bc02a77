// KEDA's side of a poll, for tests of what reaches it: the external scaler's client of KEDA with the gRPC that KEDA is built with,
// which balances round robin over the addresses that a name resolves to.
//
//	poller [-names ADDRESS] [-wait TIME] SCALER_ADDRESS TRIGGERS
//
// TRIGGERS is a file with a JSON list of what KEDA sends with each call: name, namespace, scalerMetadata. Every trigger is polled again
// and again, all side by side, as KEDA polls one: GetMetricSpec, GetMetrics, IsActive; and when one of the latter two fails, these two
// once more. Each poll is a line of JSON on the standard output. The end of the standard input ends it.
//
// With -names it answers for DNS there, as a cluster does for a headless Service: every name has the addresses of the last line of the
// standard input, which may be none. -wait is the time that gRPC leaves between two questions to DNS, which are 30s otherwise.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver/dns"
)

// What KEDA gives its client, and all that it gives it: no deadline, no retry policy, no waiting for a connection.
const serviceConfig = `{"loadBalancingConfig": [{"round_robin":{}}]}`

// Between two polls of a trigger, so that the scaler and the test have a core too.
const pause = 5 * time.Millisecond

// What one poll learnt.
type poll struct {
	// The place of the trigger in the list.
	Trigger int     `json:"trigger"`
	Target  float64 `json:"target"`
	Value   float64 `json:"value"`
	Active  bool    `json:"active"`
	// Who answered which call, as far as one did.
	Spec     string `json:"spec"`
	Metrics  string `json:"metrics"`
	Activity string `json:"activity"`
	// What failed at first, though the second try did not; and what failed at last, so that KEDA tells of it.
	Repeated string `json:"repeated"`
	Failed   string `json:"failed"`
	Millis   int64  `json:"millis"`
}

// The addresses that every name has now.
type names struct{ addresses atomic.Pointer[[]netip.Addr] }

func main() {
	listen := flag.String("names", "", "where to answer for DNS")
	wait := flag.Duration("wait", 30*time.Second, "between two questions to DNS")
	flag.Parse()
	if flag.NArg() != 2 {
		log.Fatal("usage: poller [-names ADDRESS] [-wait TIME] SCALER_ADDRESS TRIGGERS")
	}
	triggers, err := read(flag.Arg(1))
	if err != nil {
		log.Fatal(err)
	}
	var names names
	input := bufio.NewScanner(os.Stdin)
	if *listen != "" {
		input.Scan()
		names.set(input.Text())
		socket, err := net.ListenPacket("udp", *listen)
		if err != nil {
			log.Fatal(err)
		}
		go names.answer(socket)
		dns.SetMinResolutionInterval(*wait)
	}
	connection, err := grpc.NewClient(flag.Arg(0), grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	client := externalscaler.NewExternalScalerClient(connection)
	ending, end := context.WithCancel(context.Background())
	lines := make(chan poll)
	var polling sync.WaitGroup
	for index, trigger := range triggers {
		polling.Go(func() {
			for ending.Err() == nil {
				lines <- pollOnce(client, index, trigger)
				time.Sleep(pause)
			}
		})
	}
	go func() {
		for input.Scan() {
			names.set(input.Text())
		}
		// Polls under way are polled to their end, so that none fails by ours.
		end()
		polling.Wait()
		close(lines)
	}()
	output := json.NewEncoder(os.Stdout)
	for line := range lines {
		if err := output.Encode(line); err != nil {
			log.Fatal(err)
		}
	}
}

func read(file string) (triggers []*externalscaler.ScaledObjectRef, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return triggers, json.Unmarshal(text, &triggers)
}

// pollOnce polls as KEDA's loop for a ScaledJob does.
func pollOnce(client externalscaler.ExternalScalerClient, index int, trigger *externalscaler.ScaledObjectRef) (poll poll) {
	begun := time.Now()
	defer func() { poll.Millis = time.Since(begun).Milliseconds() }()
	poll.Trigger = index
	var from peer.Peer
	specs, err := client.GetMetricSpec(context.Background(), trigger, grpc.Peer(&from))
	poll.Spec = address(&from)
	if err != nil {
		// KEDA leaves the trigger out then, and does not try again.
		poll.Failed = "GetMetricSpec: " + err.Error()
		return poll
	}
	for _, spec := range specs.MetricSpecs {
		poll.Target += spec.TargetSizeFloat
	}
	if err := poll.measure(client, trigger); err != nil {
		poll.Repeated = err.Error()
		if err := poll.measure(client, trigger); err != nil {
			poll.Failed = err.Error()
		}
	}
	return poll
}

func (poll *poll) measure(client externalscaler.ExternalScalerClient, trigger *externalscaler.ScaledObjectRef) error {
	var from peer.Peer
	request := &externalscaler.GetMetricsRequest{ScaledObjectRef: trigger}
	metrics, err := client.GetMetrics(context.Background(), request, grpc.Peer(&from))
	poll.Metrics = address(&from)
	if err != nil {
		return fmt.Errorf("GetMetrics from %q: %w", poll.Metrics, err)
	}
	poll.Value = 0
	for _, metric := range metrics.MetricValues {
		poll.Value += metric.MetricValueFloat
	}
	activity, err := client.IsActive(context.Background(), trigger, grpc.Peer(&from))
	poll.Activity = address(&from)
	if err != nil {
		return fmt.Errorf("IsActive from %q: %w", poll.Activity, err)
	}
	poll.Active = activity.Result
	return nil
}

// address says who answered; empty if nobody did.
func address(from *peer.Peer) string {
	if from.Addr == nil {
		return ""
	}
	return from.Addr.String()
}

// set takes a line of addresses, divided by spaces.
func (names *names) set(line string) {
	addresses := []netip.Addr{}
	for _, field := range strings.Fields(line) {
		addresses = append(addresses, netip.MustParseAddr(field))
	}
	names.addresses.Store(&addresses)
}

// answer answers for DNS until the program ends.
func (names *names) answer(socket net.PacketConn) {
	buffer := make([]byte, 1024)
	for {
		size, from, err := socket.ReadFrom(buffer)
		if err != nil {
			log.Fatal(err)
		}
		reply, err := names.reply(buffer[:size])
		if err != nil {
			log.Fatal(err)
		}
		if _, err := socket.WriteTo(reply, from); err != nil {
			log.Fatal(err)
		}
	}
}

// reply gives every name its IPv4 addresses, and nothing else.
func (names *names) reply(asked []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(asked); err != nil {
		return nil, err
	}
	message.Response, message.Authoritative = true, true
	message.Additionals = nil
	for _, question := range message.Questions {
		if question.Type != dnsmessage.TypeA {
			continue
		}
		for _, address := range *names.addresses.Load() {
			header := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, Type: question.Type}
			message.Answers = append(message.Answers,
				dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: address.As4()}})
		}
	}
	return message.Pack()
}
