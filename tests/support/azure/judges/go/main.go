// Uses a namespace through Microsoft's SDK: judges the stand-in, or sends to an entity a message of each type there is.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

var connectionString = os.Getenv("CONNECTION_STRING")

// The first error rather than the last of many.
var options = azservicebus.ClientOptions{RetryOptions: azservicebus.RetryOptions{MaxRetries: -1}}

// A check stops at the first thing that is wrong, with all that is known of it.
type wrong string

func must[T any](value T, err error) T {
	done(err)
	return value
}

func done(err error) {
	if err != nil {
		panic(wrong(err.Error()))
	}
}

func hold(holds bool, format string, values ...any) {
	if !holds {
		panic(wrong(fmt.Sprintf(format, values...)))
	}
}

func within(limit time.Duration) context.Context {
	context, cancel := context.WithTimeout(context.Background(), limit)
	time.AfterFunc(2*limit, cancel)
	return context
}

// The namespace as its emulator would be used, without TLS.
func client() *azservicebus.Client {
	return must(azservicebus.NewClientFromConnectionString(connectionString, &options))
}

// The namespace as Azure's would be used.
func secureClient() *azservicebus.Client {
	authorities := x509.NewCertPool()
	hold(authorities.AppendCertsFromPEM(must(os.ReadFile(os.Getenv("CERTIFICATE")))), "no certificate")
	secure := options
	// Left to itself the SDK takes the port for a part of the name.
	host := strings.Split(strings.Split(connectionString, "sb://")[1], ":")[0]
	secure.TLSConfig = &tls.Config{RootCAs: authorities, ServerName: host}
	without := strings.Replace(connectionString, "UseDevelopmentEmulator=true;", "", 1)
	return must(azservicebus.NewClientFromConnectionString(without, &secure))
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "send" {
		for _, name := range send(os.Args[2]) {
			fmt.Println(name)
		}
	} else if len(os.Args) == 2 && os.Args[1] == "judge" {
		judge()
	} else {
		fmt.Fprintln(os.Stderr, "judge | send ENTITY")
		os.Exit(2)
	}
}
