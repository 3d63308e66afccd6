// Package metrics sends metrics to tallyd with nothing but the standard library. Copy it into your
// program.
package metrics

import (
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// What an Ethernet frame carries. A longer datagram is sent in pieces, of which none may get lost.
const maxDatagram = 1432

// Messages that wait for the socket; when there is no room, further ones are dropped.
const queueLength = 4096

// Tags of a message. A value is a string, a number or a boolean.
type Tags map[string]any

// Client sends messages. Its methods may be called by any number of goroutines; none of them waits,
// and none fails.
type Client struct {
	socket  *net.UDPConn
	to      *net.UDPAddr
	queue   chan []byte
	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
	dropped uint64
}

// New makes a client that sends to a HOST:PORT. The name is looked up once, here.
func New(address string) (*Client, error) {
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	// Not net.Dial: a connected socket is told when nobody listens, and then loses the first datagram
	// after the daemon is back.
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	client := &Client{
		socket: socket,
		to:     to,
		queue:  make(chan []byte, queueLength),
		stop:   make(chan struct{}),
	}
	client.stopped.Add(1)
	go client.run()
	return client, nil
}

// Counter adds to a counter.
func (c *Client) Counter(name string, count float64, tags Tags) {
	c.send(message{Name: name, Type: "counter", Count: &count, Tags: tags})
}

// Gauge sets a level.
func (c *Client) Gauge(name string, value float64, tags Tags) {
	c.send(message{Name: name, Type: "gauge", Value: value, Tags: tags})
}

// GaugeDelta changes a level: text with a sign does.
func (c *Client) GaugeDelta(name string, change float64, tags Tags) {
	c.send(message{Name: name, Type: "gauge", Value: fmt.Sprintf("%+g", change), Tags: tags})
}

// Timer records how long something took, in milliseconds.
func (c *Client) Timer(name string, took time.Duration, tags Tags) {
	c.send(message{Name: name, Type: "timer", Value: took.Seconds() * 1000, Tags: tags})
}

// Set notes a member of a set, whose different members are counted.
func (c *Client) Set(name, member string, tags Tags) {
	c.send(message{Name: name, Type: "set", Value: member, Tags: tags})
}

// Trace counts how often exactly these tags occurred.
func (c *Client) Trace(name string, tags Tags) {
	c.send(message{Name: name, Type: "trace", Tags: tags})
}

// Dropped says how many messages did not get out.
func (c *Client) Dropped() uint64 { return atomic.LoadUint64(&c.dropped) }

// Close sends what waits and ends the client. What is recorded afterwards is dropped.
func (c *Client) Close() {
	c.once.Do(func() { close(c.stop) })
	c.stopped.Wait()
}

// Tags have a place of their own in a message, so that they may be called like one of its keys.
type message struct {
	Name  string   `json:"metric_name"`
	Type  string   `json:"metric_type"`
	Count *float64 `json:"count,omitempty"`
	Value any      `json:"value,omitempty"`
	Tags  Tags     `json:"tags,omitempty"`
}

func (c *Client) send(message message) {
	line, err := json.Marshal(message) // NaN, or a tag that has no JSON
	if err != nil {
		c.drop(1)
		return
	}
	select {
	case c.queue <- line:
	default:
		c.drop(1)
	}
}

func (c *Client) drop(messages int) { atomic.AddUint64(&c.dropped, uint64(messages)) }

// Waits for messages, and puts as many as there are into each datagram.
func (c *Client) run() {
	defer c.stopped.Done()
	defer c.socket.Close()
	for {
		select {
		case line := <-c.queue:
			c.flush(line)
		case <-c.stop:
			select {
			case line := <-c.queue:
				c.flush(line)
			default:
				return
			}
		}
	}
}

func (c *Client) flush(datagram []byte) {
	messages := 1
	for {
		select {
		case line := <-c.queue:
			if len(datagram)+1+len(line) > maxDatagram {
				c.write(datagram, messages)
				datagram, messages = line, 1
				continue
			}
			datagram = append(append(datagram, '\n'), line...)
			messages++
		default:
			c.write(datagram, messages)
			return
		}
	}
}

func (c *Client) write(datagram []byte, messages int) {
	if _, err := c.socket.WriteToUDP(datagram, c.to); err != nil {
		c.drop(messages)
	}
}
