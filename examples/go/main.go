// Sends some metrics of each type: TALLYD_ADDRESS=127.0.0.1:5090 go run .
package main

import (
	"log"
	"os"
	"time"

	"example.org/shop/metrics"
)

func main() {
	address := os.Getenv("TALLYD_ADDRESS")
	if address == "" {
		address = "127.0.0.1:5090"
	}
	client, err := metrics.New(address)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	card := metrics.Tags{"payment": "card"}
	client.Counter("shop.orders", 1, card)
	client.Counter("shop.orders", 2, card)
	client.Gauge("shop.carts", 17, nil)
	client.GaugeDelta("shop.carts", -2, nil)
	for _, customer := range []string{"anna", "bert", "anna"} {
		client.Set("shop.customers", customer, nil)
	}
	client.Trace("shop.signup", metrics.Tags{"step": "confirm", "browser": "firefox"})

	checkout(client)

	// Many at once: the client puts queued messages into a few datagrams.
	for count := 0; count < 100; count++ {
		client.Counter("shop.items", float64(count), metrics.Tags{"product": `Käse "alt"`})
	}
}

func checkout(client *metrics.Client) {
	began := time.Now()
	defer func() {
		client.Timer("shop.checkout", time.Since(began), metrics.Tags{"payment": "card"})
	}()
	// … the measured code …
}
