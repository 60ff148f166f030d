// A round with Go's clients: write COUNT records, read them in a group, print what was read.
//
//	round franz|sarama ADDRESS TOPIC COUNT
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

const deadline = 60 * time.Second

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func franz(ctx context.Context, address, topic string, count int) {
	writer, err := kgo.NewClient(
		kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	check(err)
	for i := range count {
		writer.Produce(ctx, &kgo.Record{
			Topic: topic, Key: []byte(fmt.Sprintf("k%d", i)), Value: []byte(fmt.Sprintf("v%d", i)),
			Headers: []kgo.RecordHeader{{Key: "n", Value: []byte(strconv.Itoa(i))}},
		}, func(_ *kgo.Record, err error) { check(err) })
	}
	check(writer.Flush(ctx))
	writer.Close()

	reader, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.ConsumerGroup("franz"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	check(err)
	for seen := 0; seen < count; {
		fetches := reader.PollFetches(ctx)
		check(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Printf("%s %s %s\n", record.Key, record.Value, record.Headers[0].Value)
			seen++
		})
	}
	check(reader.CommitUncommittedOffsets(ctx))
	reader.Close()
}

type member struct {
	count int
	done  context.CancelFunc
}

func (*member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*member) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		fmt.Printf("%s %s %s\n", message.Key, message.Value, message.Headers[0].Value)
		session.MarkMessage(message, "")
		if m.count--; m.count == 0 {
			session.Commit()
			m.done()
		}
	}
	return nil
}

func saramas(ctx context.Context, address, topic string, count int) {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Compression = sarama.CompressionLZ4
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	writer, err := sarama.NewSyncProducer([]string{address}, config)
	check(err)
	messages := []*sarama.ProducerMessage{}
	for i := range count {
		messages = append(messages, &sarama.ProducerMessage{
			Topic: topic, Key: sarama.StringEncoder(fmt.Sprintf("k%d", i)), Value: sarama.StringEncoder(fmt.Sprintf("v%d", i)),
			Headers: []sarama.RecordHeader{{Key: []byte("n"), Value: []byte(strconv.Itoa(i))}},
		})
	}
	check(writer.SendMessages(messages))
	check(writer.Close())

	group, err := sarama.NewConsumerGroup([]string{address}, "sarama", config)
	check(err)
	ctx, cancel := context.WithCancel(ctx)
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{topic}, &member{count, cancel}); err != nil && ctx.Err() == nil {
			check(err)
		}
	}
	check(group.Close())
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	count, err := strconv.Atoi(os.Args[4])
	check(err)
	map[string]func(context.Context, string, string, int){"franz": franz, "sarama": saramas}[os.Args[1]](ctx, os.Args[2], os.Args[3], count)
}
